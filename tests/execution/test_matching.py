from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from domino_lightning.execution.matching import same_output, same_value


@pytest.mark.parametrize(
    ("got", "wanted", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("\n 1 \n2\t\n\n", "1\n2", True),
        ("1 2", "1\n2", False),
        ("1\n\n2", "1\n2", False),
        ("1.0 2", "1 2.00", True),
        ("1e2", "100", True),
        ("1  2", "1 2", True),  # both are numbers
        ("a  b", "a b", False),
        ("50000000000000000", "50000000000000001", False),
        ("0.1", "0.10000000000000001", False),
        ("nan", "nan", True),  # the same text
        ("nan", "NaN", False),
        ("snan", "1", False),
        ("YES", "yes", False),
        ("", "", True),
        ("", "0", False),
        ("1 2 3", "1 2", False),
        ("1e999999999999999999", "1", False),
    ],
)
def test_output_is_compared_as_livecodebench_states_it(got: str, wanted: str, same: bool) -> None:
    assert same_output(got, wanted) is same


@pytest.mark.parametrize(
    ("got", "wanted"), [("10 " * 1_000_000, "7"), ("10\n" * 1_000_000, "7"), ("10 " * 1_000_000, "7 7")]
)
def test_a_large_output_is_not_taken_apart_for_a_small_expectation(got: str, wanted: str) -> None:
    """The grader's memory is not the program's to fill: 16 MiB of numbers took a gigabyte as decimals."""
    tracemalloc.start()
    try:
        assert not same_output(got, wanted)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(got)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("tree", "wanted", "strict", "lenient"),
    [
        (1, 1, True, True),
        (True, 1, False, True),
        (1, True, False, True),
        (True, True, True, True),
        (float("nan"), float("nan"), True, False),
        (None, float("nan"), False, False),
        (1.0, float("nan"), False, False),
        (1.0, 1, False, True),
        (1, 1.0, True, True),
        (False, 0.0, False, True),
        ("1", 1, False, False),
        (None, None, True, True),
        (None, False, False, False),
        (0, None, False, False),
        ([1, [2]], [1, [2]], True, True),
        ([1], [1, 2], False, False),
        ({"t": [1, 2]}, [1, 2], True, True),
        ([{"t": [1, 2]}], [[1, 2]], True, False),
        ({"t": [{"t": [1]}]}, [[1]], True, False),
        ({"s": [1]}, [1], False, False),
        ({"d": [["a", 1]]}, {"a": 1}, True, True),
        ({"d": [["a", 1], ["a", 1]]}, {"a": 1, "b": 1}, False, False),
        ({"d": [["a", 2]]}, {"a": 1}, False, False),
        ({"d": [[1, 1]]}, {"1": 1}, False, False),
        ({"dc": [["a", 1]]}, {"a": 1}, True, True),
        ({"i": hex(10**30)}, 10**30, True, True),
        ({"i": "x"}, 1, False, False),
        ({"d": 5}, {"a": 1}, False, False),
        ({"t": 5}, [1], False, False),
        ({"x": ["Decimal", "1"]}, 1, False, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, False, False),
    ],
)
def test_values_are_compared_by_type_and_leniently_under_compat(
    tree: Any, wanted: Any, strict: bool, lenient: bool
) -> None:
    assert same_value(tree, wanted) is strict
    assert same_value(tree, wanted, "lcb") is lenient
