"""Values that claim to equal whatever they are compared with."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import pytest

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import ASSERT, EQUAL, FLOATS, LISTS, RETURN, Hostile, hostile, require_failure

PROGRAMS = {
    "equal to everything": hostile(RETURN, EQUAL + "def f(x): return Liar()", "error"),
    "equal to everything, asserted": hostile(ASSERT, EQUAL + "def f(x): return Liar()", "failed"),
    "equal to every list": hostile(LISTS, EQUAL + "def f(x): return Liar()", "failed"),
    "a list of liars": hostile(LISTS, EQUAL + "def f(x): return [Liar() for _ in x]", "failed"),
    "near every number": hostile(FLOATS, EQUAL + "def f(x): return Liar()", "error", "failed"),
    "an int that lies": hostile(
        ASSERT, "class I(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(x): return I(0)",
        "failed",
    ),
    "a str that lies": hostile(
        RETURN, "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(x): return S('42')",
        "failed",
    ),
    "a list that lies": hostile(
        LISTS, "class L(list):\n    def __eq__(self, o): return True\ndef f(x): return L()", "failed"
    ),
    "a dict that lies": hostile(
        RETURN, "class D(dict):\n    def __eq__(self, o): return True\ndef f(x): return D()", "failed"
    ),
    "not a number": hostile(FLOATS, "def f(x): return float('nan')", "failed"),
    "true for one": hostile(
        [{"type": "functional", "input": "1", "output": "1"}], "def f(x): return True", "failed"
    ),
    "overwrites the argument that the test compares with": hostile(
        [{"type": "assert", "code": "x = [3, 1, 2]\nassert f(x) == sorted([3, 1, 2])"}],
        "def f(x):\n    x[:] = [0]\n    return x", "failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)
