"""The domain without code of docs/write_a_domain.md, as somebody would have it after following the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write_a_domain.md"
CODE, EXPERIMENT = (
    re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]  # type: ignore[index]
    for language in ("python", "yaml")
)
ROWS = [{"question": f"What is {n} plus {n + 1}?", "answer": str(2 * n + 1)} for n in range(40)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the guide's domain, experiment and rows, where `domino` is run."""
    (tmp_path / "my_domain.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "trivia.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (tmp_path / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_domain", raising=False)
    return tmp_path
