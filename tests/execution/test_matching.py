from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from domino_lightning.execution.matching import same_json, same_output, same_value


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


@pytest.mark.parametrize(
    ("tree", "wanted", "strict", "lenient"),
    [
        ({"a": ["<i8", [2, 2], [1, 2, 3, 4]]}, [[1, 2], [3, 4]], True, False),
        ({"a": ["<i8", [4], [1, 2, 3, 4]]}, [[1, 2], [3, 4]], False, False),
        ({"a": ["<f8", [2], [1.0, 2.0]]}, [1, 2], False, False),  # a float is no integer
        ({"a": ["<i8", [], [5]]}, 5, True, False),
        ({"a": ["<i8", [2, 0], []]}, [[], []], True, False),
        ({"a": ["<i8", [10**9, 0], []]}, [], False, False),
        ({"a": ["|O", [2], [{"t": [1]}, "x"]]}, [[1], "x"], True, False),
        ({"a": ["<i8", "no shape", [1]]}, [1], False, False),
        ({"a": ["<i8", [1]]}, [1], False, False),
        ({"n": ["<f8", 0.5]}, 0.5, True, True),
        ({"n": ["|b1", True]}, 1, False, True),
        ({"n": [1]}, 1, False, False),
    ],
)
def test_arrays_count_as_lists(tree: Any, wanted: Any, strict: bool, lenient: bool) -> None:
    assert same_value(tree, wanted) is strict
    assert same_value(tree, wanted, "lcb") is lenient


def test_values_may_nest_as_deep_as_json_is_read() -> None:
    deep = "[" * 900 + "]" * 900
    assert same_json(deep.encode(), deep)
    assert not same_json(b"[" + deep.encode() + b"]", deep)
    assert not same_json(b"[" * 100_000, deep)
    assert not same_json(b"not JSON", "1")


def test_every_json_value_has_room_for_its_tree() -> None:
    """Tuples, dicts, arrays and large integers take more brackets than plain JSON does."""
    for value, wanted in (
        (b'{"d":[["a",{"t":[{"t":[]},{"t":[]}]}],["b",{"d":[]}]]}', '{"a": [[], []], "b": {}}'),
        (b'{"t":[' + b",".join([b'{"i":"0xde0b6b3a7640000"}'] * 50) + b"]}", str([10**18] * 50)),
        (b'{"d":[' + b",".join(b'["%d",{"t":[{"d":[]}]}]' % i for i in range(99)) + b"]}", None),
    ):
        assert same_json(value, wanted or "{" + ", ".join(f'"{i}": [{{}}]' for i in range(99)) + "}")


@pytest.mark.parametrize("value", [b"[" + b"[]," * 5_000_000, b"[" + b"1," * 8_000_000, b'"' + b"," * 9_999_999 + b'"'])
def test_a_result_of_far_more_values_is_not_read(value: bytes) -> None:
    tracemalloc.start()
    try:
        assert not same_json(value, "[1, 2, 3]")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
