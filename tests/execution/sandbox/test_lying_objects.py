"""Values that claim to equal whatever they are compared with."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import pytest

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import ASSERT, EQUAL, FLOATS, LISTS, RETURN, Hostile, hostile, require_failure

# Every operator, its results liars too.
WORSE = (
    EQUAL
    + """
    def __sub__(self, other): return self
    __rsub__ = __isub__ = __add__ = __radd__ = __mul__ = __rmul__ = __mod__ = __neg__ = __sub__
    def __le__(self, other): return True
    __ge__ = __contains__ = __le__
    def __float__(self): return 0.0
    def __int__(self): return 0
    def __round__(self, digits=0): return 0
    def __array__(self, *a, **k): return 0
    def __array_ufunc__(self, *a, **k): return True
"""
)
LIES = WORSE + "def f(x): return Liar()"


def asserted(test: str) -> list[dict[str, str]]:
    return [{"type": "assert", "code": test}]


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
    "a liar is all that a difference leaves": hostile(FLOATS, LIES, "error"),
    "a difference in place": hostile(asserted("x = f(2)\nx -= 1.41\nassert abs(x) < 0.01"), LIES, "error"),
    "the other way round": hostile(asserted("assert abs(1.41 - f(2)) < 0.01"), LIES, "error"),
    "rounded": hostile(asserted("assert round(f(2) - 1.41, 2) == 0"), LIES, "error"),
    "between two bounds": hostile(asserted("assert 1.40 <= f(2) <= 1.42"), LIES, "error"),
    "holds everything": hostile(asserted("assert 42 in f(2)"), LIES, "failed"),
    "is one of two": hostile(asserted("assert f(2) in (41, 42)"), LIES, "failed"),
    "is not unequal": hostile(asserted("assert not f(2) != 42"), LIES, "failed"),
    "a key's hash": hostile(
        asserted("assert {42: 1}.get(f(2))"),
        "class L:\n    def __eq__(self, o): return True\n    def __hash__(self): return 42\ndef f(x): return L()", "failed",
    ),
    "numbers of numpy's": hostile(asserted("import numpy as np\nassert np.isclose(f(2), 1.41)"), LIES, "error", "failed", "timeout"),
    "an exception": hostile(
        asserted("assert f(2) == 42"), EQUAL + "class E(Liar, ValueError): pass\ndef f(x): return E()", "failed"
    ),
    "an exception that is raised": hostile(
        asserted("try: f(2)\nexcept ValueError as e:\n    assert e == 42 or e.args == (42,)"),
        EQUAL + "class E(Liar, ValueError): args = Liar()\ndef f(x): raise E(41)", "failed",
    ),
    "an exception that says it is the standard library's": hostile(
        asserted("import json\ntry: f(2)\nexcept json.JSONDecodeError: pass"),
        "class JSONDecodeError(Exception): pass\nJSONDecodeError.__module__ = 'json.decoder'\ndef f(x): raise JSONDecodeError",
        "error",
    ),
    "a field of an exception": hostile(
        asserted("try: f(2)\nexcept ValueError as e:\n    assert e.code == 42"),
        WORSE + "class E(ValueError): code = Liar()\ndef f(x): raise E", "failed",
    ),
    "a class that the test does not expect": hostile(
        asserted("try: f(2)\nexcept ValueError: pass"),
        "class ValueError(Exception): pass\ndef f(x): raise ValueError", "error",
    ),
    "an attribute": hostile(asserted("assert f(2).x == 42"), LIES, "failed"),
    "an object that a class makes": hostile(asserted("assert Stack() == [1]"), WORSE + "class Stack(Liar): pass", "failed"),
    "what its method gives": hostile(
        asserted("assert Circle(2).area() - 12.56 < 0.1"),
        WORSE + "class Circle(Liar):\n    def __init__(self, *r): pass\n    def area(self): return self", "error",
    ),
    "what its method makes": hostile(
        asserted("assert abs(Circle(2).area() - 12.56) < 0.1"),
        WORSE + "class Circle(Liar):\n    def __init__(self, *r): pass\n    def area(self): return Circle()", "error",
    ),
    "a list by its operators": hostile(
        asserted("assert f(2) + [1] == [42, 1]\nassert f(2)[0] == 42"),
        "class L(list):\n    def __add__(self, o): return [42, 1]\n    def __getitem__(self, i): return 42\ndef f(x): return L()",
        "failed",
    ),
    "a tuple that the test asks for more": hostile(
        asserted("assert f(2) == (1, 2) and f(2).x == 1"),
        "class T(tuple):\n    x = 1\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return T()", "failed",
    ),
    "an array of a class of its own": hostile(
        asserted("import numpy as np\nassert np.allclose(f(2), [1.41])"),
        "import numpy as np\nclass A(np.ndarray):\n    def __sub__(self, o): return 0\n    __eq__ = lambda *a: True\ndef f(x): return np.zeros(1).view(A)",
        "failed", "error", "timeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)
