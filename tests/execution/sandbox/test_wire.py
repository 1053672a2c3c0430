"""Plain data that crosses between processes: what comes back, what is bounded, what is refused."""

from __future__ import annotations

import array
import collections
import datetime
import ipaddress
import sys
import types
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.decoding import decode
from domino_lightning.execution.sandbox.inside.encoding import encode


def sent(value: object) -> Any:
    with wire.deeply():
        return decode(wire.loads(wire.dumps(encode(value))))


def passed(value: object) -> Any:
    """The tree of a value between two processes of the sandbox."""
    return encode(value, lambda _: pytest.fail("it is data"))


@pytest.mark.parametrize(
    "value",
    [
        None, True, -1, 10**40, 1.5, "a\ud800", b"\xff", bytearray(b"a"), 1j, range(1, 9, 2), (), [], {}, set(),
        (1, [2, {3: (4,)}], {5}, frozenset({6})), {(1, 2): {"a": None}}, collections.deque([1, (2,)]),
        collections.Counter("aab"), collections.OrderedDict(b=1, a=2), Decimal("1.50"), Fraction(1, 3),
        datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4), datetime.time(1, 2),
        datetime.timedelta(-1, 2, 3), datetime.UTC, datetime.timezone(datetime.timedelta(hours=-5), "EST"),
        uuid.UUID(int=7), ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("fd00::/8"),
        ipaddress.ip_interface("10.0.0.1/8"), slice(1, None, 2), int, type, ValueError, ..., NotImplemented,
        types.SimpleNamespace(a=[1], b=None), array.array("d", [1.5]), array.array("i", [1, 2]),
    ],
)  # fmt: skip
def test_data_comes_back_as_what_it_was(value: object) -> None:
    found = sent(value)
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("a"),
        OSError(2, "gone"),
        ZeroDivisionError(),
        UnicodeDecodeError("utf-8", b"a", 0, 1, "x"),
    ],
    ids=repr,
)
def test_exceptions_of_built_in_classes_come_back_as_what_they_were(error: Exception) -> None:
    found = sent([error])[0]
    assert (type(found), found.args, str(found)) == (type(error), error.args, str(error))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_view_of_a_dict_and_a_matrix_come_back() -> None:
    view = sent(types.MappingProxyType({"a": (1,)}))
    assert (type(view), dict(view)) == (types.MappingProxyType, {"a": (1,)})
    matrix = sent(np.matrix([[1, 2], [3, 4]]))
    assert type(matrix) is np.matrix
    assert matrix.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "tree", [{"o": "print"}, {"o": "__loader__"}, {"o": ["int"]}, {"E": ["int", "", [], {}]}, {"A": ["z", []]}]
)
def test_names_and_exceptions_of_other_kinds_are_refused(tree: object) -> None:
    with pytest.raises(wire.NotPlain):
        decode(tree)


@pytest.mark.parametrize(
    "made",
    [
        np.arange(6).reshape(2, 3), np.array([1.5, np.inf]), np.array(3), np.zeros((2, 0, 3)), np.array([1, 2], "u1"),
        np.array([True]), np.array([1j], "c8"), np.array(["a", "bcd"]), np.array([b"a"]),
        np.array(["2020-01-01"], "M8[D]"), np.array([3], "m8[s]"), np.array([0.1], "f4"),
        np.asfortranarray(np.eye(2)), np.arange(6)[::-2],
    ],
)  # fmt: skip
def test_arrays_come_back_with_type_and_shape(made: Any) -> None:
    found = sent([made])[0]
    assert (type(found), found.dtype, found.shape) == (np.ndarray, made.dtype, made.shape)
    assert np.array_equal(found, made)
    if made.size:
        scalar = made.ravel()[0]
        assert type(sent(scalar)) is type(scalar)
        assert sent(scalar) == scalar
    found[...] = found


@pytest.mark.parametrize("kind", ["?", "i1", "<u2", ">i4", "f2", "f8", "c16"])
def test_numbers_pass_between_processes_as_bytes(kind: str) -> None:
    made = np.array([[0, 1, 5], [1, 0, 3]]).astype(kind)
    tree = passed(made)
    assert isinstance(tree["a"][2], str)
    found = decode(tree)
    assert found.dtype == made.dtype
    assert np.array_equal(found, made)
    found[...] = 0


def test_a_boolean_is_one_whatever_its_byte() -> None:
    found = decode({"a": ["|b1", [3], "AAEC"]})
    assert found.view("u1").tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "value",
    ["é" * (wire.MAX_BYTES // 6), b"\xff" * (wire.MAX_BYTES // 6), ["a" * 1000] * 140_000,
     [[()] for _ in range(1_000_000)],
     np.zeros(14_000_000), 1 << (4 * wire.MAX_BYTES + 4)],
    ids=["text", "bytes", "texts", "holders", "numbers", "digits"],
)  # fmt: skip
def test_what_is_encoded_is_never_more_than_is_read(value: object) -> None:
    with pytest.raises(wire.TooLarge):
        passed(value)


def test_what_is_held_twice_is_one_thing() -> None:
    row, table, error = [1], {"a": bytearray(b"x")}, KeyError("k")
    tree = encode(([row, table], {1: row, 2: (table, table["a"])}, [error, error]), lambda _: pytest.fail("it is data"))
    (first, second), held, (one, other) = decode(tree)
    assert held[1] is first
    assert held[2][0] is second
    assert held[2][1] is second["a"]
    assert one is other
    assert (first, second) == (row, table)


def test_what_was_sent_before_is_known_by_its_place() -> None:
    here: list[Any] = []
    there: list[Any] = []
    row = [1]
    given = decode(encode([row, [row]], lambda _: pytest.fail("it is data"), known=here), known=there)
    answer = encode({"same": given[1], "new": [given[0]]}, lambda _: pytest.fail("it is data"), known=there)
    found = decode(answer, known=here)
    assert found["new"][0] is row
    assert found["same"][0] is row


@pytest.mark.parametrize("place", [0, 7, -1, "a", None, [0]])
def test_a_place_where_nothing_is_is_refused(place: object) -> None:
    with pytest.raises(wire.NotPlain):
        decode({"=": place})


def test_a_long_text_passes() -> None:
    text = "a" * (wire.MAX_BYTES // 2)
    assert wire.loads(wire.dumps(passed(text))) == text


def test_arrays_of_objects_keep_what_they_hold() -> None:
    made = np.empty(3, object)
    made[:] = [[1], "a", None]
    found = sent(made)
    assert found.dtype == object
    assert found.tolist() == [[1], "a", None]


def test_the_limit_of_the_interpreter_is_as_it_was() -> None:
    before = sys.getrecursionlimit()
    deep: list[Any] = []
    for _ in range(wire.MAX_DEPTH - 2):
        deep = [deep]
    found, depth = sent(deep), 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == wire.MAX_DEPTH - 2
    assert sys.getrecursionlimit() == before
    for _ in range(3):
        deep = [deep]
    with pytest.raises(wire.TooLarge):
        encode(deep)
    assert sys.getrecursionlimit() == before


@pytest.mark.parametrize(
    "data",
    [b"[]," * 3_000_000, b"{}," * 3_000_000, b"1," * 5_000_000, b'"",' * 5_000_000, b"[" * 5_000_000],
)
def test_too_many_values_are_not_read(data: bytes) -> None:
    with pytest.raises(wire.TooLarge):
        wire.loads(data, load=lambda _: pytest.fail("it was read"))


def test_marks_in_a_text_are_no_values() -> None:
    text = ',[{\\"' * 1_500_000
    assert wire.loads(wire.dumps([text])) == [text]


@pytest.mark.parametrize(
    "tree",
    [
        {"zz": 1}, {}, {"a": 1, "b": 2}, {"h": [1, "x"]}, {"L": [[], {"h": [1, "x"]}]}, {"i": "no"}, {"d": [[1]]},
        {"s": [[]]}, {"b": "\u1234"}, {"x": ["Path", "/"]}, {"a": ["V8", [1], [1]]}, {"a": ["<i8", [2], [1]]},
        {"a": ["<i8" * 99, [1], [1]]}, {"a": ["<i8", [1], "AAAA"]},
        {"a": ["<i8", [1], "!"]}, {"a": ["|O", [1], "AAAAAAAAAAA="]}, {"a": ["<U1", [1], "AAAAAA=="]},
        {"a": [8, [1], [1]]}, {"a": ["<i8", [1], ["x"]]}, {"n": ["<f8"]},
        {"r": [1, 2, 0]},
    ],
)  # fmt: skip
def test_what_no_value_makes_is_refused(tree: object) -> None:
    with pytest.raises(wire.NotPlain):
        decode(tree)
