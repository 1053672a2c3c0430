"""Tests that no program could fail are told from those that one could."""

from __future__ import annotations

import ast

import pytest

from domino_lightning.domains.codegen.assertions import asserts_nothing, has_check


@pytest.mark.parametrize(
    "code",
    [
        "assert f(1) == 1",
        "assert f(1)",
        "assert not f(0), 'none'",
        "result = f(1)\nassert result == 1",
        "for x in (1, 2):\n    assert f(x) == x",
        "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
        "if f(1) != 1:\n    raise ValueError",
        "import numpy as np\nnp.testing.assert_allclose(f(1), 1)",
        "from numpy.testing import assert_allclose\nassert_allclose(f(1), 1)",
        "def check(candidate):\n    assert candidate(1) == 1\n\ncheck(f)",
        "def same(a, b):\n    assert a == b\n\ndef check(c):\n    same(c(1), 1)\n\ncheck(f)",
        "from numpy.testing import assert_equal as same\nsame(f(1), 1)",
        "import unittest\ncase = unittest.TestCase()\ncase.assertEqual(f(1), 1)",
        "import functools, numpy as np\nfunctools.partial(np.testing.assert_allclose, rtol=1)(f(1), 1)",
        "class Test:\n    def test_one(self):\n        assert f(1) == 1\n\nTest().test_one()",
        "assert (f(1), f(2)) == (1, 2)",
        "assert [f(1)] and f(2) == 2",
    ],
)
def test_what_a_program_can_fail_asserts_something(code: str) -> None:
    assert asserts_nothing(ast.parse(code), "f") is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("f(1) == 1", "compares without"),
        ("f(1)", "no assertion"),
        ("print(f(1) == 1)", "no assertion"),
        ("x = f(1)", "no assertion"),
        ("'assert f(1) == 1'", "no assertion"),
        ("b'assert f(1) == 1'", "no assertion"),
        ("pass", "no assertion"),
        ("import math\nmath.isclose(f(1), 2)", "no assertion"),
        ("import numpy as np\nnp.allclose(f(1), 2)", "no assertion"),
        ("from operator import eq\neq(f(1), 1)", "no assertion"),
        ("try:\n    f(1)\nexcept AssertionError:\n    pass", "no assertion"),
        ("import f\nf(1) == 1", "compares without"),
        ("assert True", "true of every program"),
        ("assert 1 == 1", "true of every program"),
        ("assert 'f(1) == 1'", "true of every program"),
        ("assert f", "true of every program"),
        ("assert f(1) == 1 or True", "true of every program"),
        ("assert (f(1) == 2, 'message')", "true of every program"),
        ("assert [f(1) == 2]", "true of every program"),
        ("def test_f():\n    assert f(1) == 1", "nothing calls"),
        (
            "import unittest\n\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 1)",
            "calls",
        ),
        ("def check(c):\n    c(1) == 1\n\ncheck(f)", "nothing"),
    ],
)
def test_what_no_program_can_fail_asserts_nothing(code: str, reason: str) -> None:
    found = asserts_nothing(ast.parse(code), "f")
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("code", "there"),
    [
        ("def check(candidate): pass", True),
        ("def check(candidate, times=3, *, exact=False): pass", True),
        ("def check(*candidates): pass", True),
        ("def check(candidate, /): pass", True),
        ("def check(): pass", False),
        ("def check(candidate, expected): pass", False),
        ("def check(candidate, *, expected): pass", False),
        ("def check(**named): pass", False),
        ("async def check(candidate): pass", False),
        ("class T:\n    def check(self, candidate): pass", False),
        ("def outer():\n    def check(candidate): pass", False),
        ("check = print", False),
        ("check(f)", False),
        ("def checks(c): pass", False),
    ],
)
def test_a_check_is_a_function_of_the_top_level_that_takes_the_candidate(code: str, there: bool) -> None:
    assert has_check(ast.parse(code)) is there
