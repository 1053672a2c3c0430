"""Tests are run against programs that say one thing whatever they are asked: what passes with all asserts nothing."""

from __future__ import annotations

import pytest

from domino_lightning.domains.codegen.blank import EMPTY, empty_tests, find_empty

EMPTY_TESTS = [
    "try:\n    assert f(1) == 1\nexcept AssertionError:\n    pass",
    "try:\n    assert abs(f(1) - 1) < 0.1\nexcept Exception:\n    pass",
    "import contextlib\nwith contextlib.suppress(AssertionError):\n    assert f(1)[0].name == 1",
    "for x, y in []:\n    assert f(x) == y",
    "assert all(f(x) == y for x, y in [])",
    "while False:\n    assert f(1) == 1",
    "async def test():\n    assert f(1) == 1\ntest()",
    "async def check(candidate):\n    assert candidate(1) == 1\ncheck(f)",
    "def test():\n    yield\n    assert f(1) == 1\ntest()",
    "def test():\n    assert f(1) == 1\ntest",
    "def test():\n    return\n    assert f(1) == 1\ntest()",
    "assert [f(1) == 1 for _ in [0]]",
    "assert f'{f(1)}x'",
    "assert (f(1) == 1) is not None",
    "assert (f(1) == 1) in (True, False)",
    "assert any([True, f(1) == 1])",
    "assert f(1) == 1 if False else True",
    "assert f(1) == 1 or not f(1) == 1",
    "assert f(1) == f(1)",
    "assert len({f(1), f(1)}) == 1",
    "assert (x := True)",
    "assert callable(f)",
    "assert len([1])",
    "def check(c):\n    assert c\ncheck(f)",
    "if f(1) != 1:\n    print('wrong')",
    "import numpy as np\ntry:\n    assert np.allclose(f(1), 2)\nexcept AssertionError:\n    pass",
]
REAL_TESTS = [
    "assert f(1) == 2",
    "assert f(1) != 2",
    "assert not f(1) == 2",
    "assert f(1)",
    "assert not f(1)",
    "assert f(1) is not None",
    "assert f(1) is not False",
    "assert f(1) == f(2)",
    "assert f(1) == g(1)",
    "given = [2, 1]\nassert f(given) is not given",
    "given = [2, 1]\nf(given)\nassert given == [2, 1]",
    "given = [2, 1]\nf(given)\nassert given == [1, 2]",
    "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
    "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError",
    "for x in f(10):\n    assert x % 2 == 0",
    "assert not any(x < 0 for x in f(1))",
    "assert abs(f(1) - 0.5) < 1e-6",
    "assert isinstance(f(1), int)",
    "assert not isinstance(f(1), list)",
    "s = Stack()\ns.push(1)\nassert s.pop() == 1",
    "assert set(f(1)) == set()",
    "assert f(1) not in (1, 2)",
    "import asyncio\nassert asyncio.run(f(1)) == 1",
    "import numpy as np\nnp.testing.assert_allclose(f(1), 1)",
    "from unittest import TestCase\nTestCase().assertEqual(f(1), 2)",
]


@pytest.mark.parametrize("code", EMPTY_TESTS)
def test_what_passes_whatever_a_program_returns_is_empty(code: str) -> None:
    assert find_empty(_record(code)) == EMPTY


@pytest.mark.parametrize("code", REAL_TESTS)
def test_what_a_wrong_program_fails_is_a_test(code: str) -> None:
    assert find_empty(_record(code)) is None


def test_a_row_is_judged_by_all_of_its_tests() -> None:
    records = [_record("assert callable(f)", "assert f(1) == 1"), _record("assert callable(f)", "assert len([1])")]
    output = {"tests": [{"type": "stdin", "input": "", "output": ""}], "entry_point": None}
    assert list(empty_tests([*records, output], 2)) == [None, EMPTY, None]


def test_names_that_a_test_forgot_to_import_are_those_of_the_solution() -> None:
    record = _record("try:\n    assert math.isclose(f(1), 2)\nexcept AssertionError:\n    pass")
    assert find_empty({**record, "solution": "import math\n\ndef f(x):\n    return math.sqrt(x)"}) == EMPTY


def test_an_entry_point_called_like_a_built_in_is_the_programs() -> None:
    assert find_empty({**_record("assert sum([1]) == 1"), "entry_point": "sum"}) is None
    assert find_empty({**_record("given = [1]\nassert sum(given) == 1"), "entry_point": "sum"}) is None
    assert find_empty({**_record("assert callable(f)"), "entry_point": "callable"}) == EMPTY


def _record(*codes: str) -> dict[str, object]:
    return {"tests": [{"type": "assert", "code": code} for code in codes], "entry_point": "f"}
