"""Types of constructors are evaluated without what is there for type checkers alone."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from domino_lightning.config.options import class_parser, options_of
from domino_lightning.config.types import evaluate_types

HEAVY = "raise RuntimeError('imported for type checkers alone')\n"
FORK = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import heavy_of_fork

@dataclass(frozen=True)
class Runtime:
    workers: int = 1

class Base:
    def __init__(self, mode: Literal["a", "b"] = "a", runtime: Runtime | None = None) -> None:
        self.mode, self.runtime = mode, runtime

class Below(Base):
    """Its constructor is its parent's."""

class Unknown:
    def __init__(self, size: int, kept: heavy_of_fork.Thing | None = None) -> None:
        self.size = size
'''


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A module whose block for type checkers cannot be run."""
    (tmp_path / "fork_of_types.py").write_text(FORK)
    (tmp_path / "heavy_of_fork.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return import_module("fork_of_types")


def test_a_block_for_type_checkers_is_not_run(fork: object) -> None:
    below = fork.Below  # type: ignore[attr-defined]
    assert below.__init__.__annotations__["mode"].startswith("Literal[")
    assert evaluate_types(below) is below
    assert below.__init__.__annotations__["mode"].__args__ == ("a", "b")
    assert fork.Runtime.__init__.__annotations__["workers"] is int  # type: ignore[attr-defined]
    options = {option.name: option.kind for option in options_of(class_parser(below))}
    assert options["mode"] == "Literal['a', 'b']"
    assert "heavy_of_fork" not in sys.modules


def test_what_cannot_be_evaluated_is_left_as_it_is(fork: object) -> None:
    unknown = fork.Unknown  # type: ignore[attr-defined]
    evaluate_types(unknown)
    assert unknown.__init__.__annotations__["size"] == "int"
    assert evaluate_types("no class") == "no class"
