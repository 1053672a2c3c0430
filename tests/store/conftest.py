"""Modules of the user's side, made for a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domino_lightning.store import coverage

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write("fork/losses.py", text)` writes a module that can be imported; all are forgotten afterwards."""
    folder = tmp_path / "side"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(coverage, "_loaded", {})
    for name in ("_before", "_reached", "_strays"):
        monkeypatch.setattr(coverage, name, set())
    before = set(sys.modules)

    def module(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
