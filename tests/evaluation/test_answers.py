from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_lightning.errors import UserError
from domino_lightning.evaluation.answers import (
    MAX_DEPTH,
    NotALiteral,
    extract_answer,
    grade_answer,
    literal_equal,
    parse_literal,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
KEYS = SCALARS | st.frozensets(SCALARS, max_size=3)
VALUES = st.recursive(
    KEYS | st.sets(SCALARS, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_every_plain_value_survives_its_repr(value: object) -> None:
    assert literal_equal(parse_literal(repr(value)), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1", -1),
        ("+ 2", 2),
        ("1e3", 1000.0),
        ("0x1F", 31),
        ("1_000", 1000),
        (" [1, (2,), {'a': {3}}] ", [1, (2,), {"a": {3}}]),
        ("1, 2", (1, 2)),
        ("()", ()),
        ("set()", set()),
        ("set([1, 2])", {1, 2}),
        ("frozenset({1})", frozenset({1})),
        ("'a' \"b\"", "ab"),
        ("'''x\ny'''", "x\ny"),
        (r"'a\'==\'b'", "a'=='b"),
        ("b'\\x00'", b"\x00"),
        ("[1,\n 2]  # because", [1, 2]),
        ("'(((' ", "((("),
    ],
)
def test_literals_parse_to_their_value(text: str, value: object) -> None:
    assert literal_equal(parse_literal(text), value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 + 2",
        "2 -2",
        "0 or True",
        "not 1",
        "--1",
        "-True",
        "f(1)",
        "__import__('os')",
        "set('ab')",
        "set(())()",
        "set",
        "frozenset({1}, {2})",
        "[1][0]",
        "'a' * 3",
        "f'{1}'",
        "nan",
        "float('inf')",
        "1e999",
        "1j",
        "...",
        "{[1]}",
        "{**{}}",
        "[*[1]]",
        "[x for x in [1]]",
        "lambda: 1",
        "1 if True else 2",
        "1; 2",
        "1\n2",
        "[1",
        "'a",
        "1\x00",
        "9" * 9000,  # beyond the interpreter's digits for text
        "[" * 20,
    ],
)
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(NotALiteral):
        parse_literal(text)


PIECES = ["[", "(", "{1:", "-", "- ", "~", "not ", "1-", "1 -", "set()", "1,(", "a.", "'a'[", "lambda:"]


@pytest.mark.parametrize("piece", PIECES)
def test_long_chains_end_in_a_verdict_and_not_in_a_crash(piece: str) -> None:
    with pytest.raises(NotALiteral):
        parse_literal(piece * (1_000_000 // len(piece)), max_chars=1_000_000)


def test_size_and_depth_are_bounded() -> None:
    parse_literal("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(NotALiteral, match="deep"):
        parse_literal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    with pytest.raises(NotALiteral, match="10001 characters"):
        parse_literal("'" + "a" * 9999 + "'")


def test_odd_escapes_in_an_answer_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_literal(r"'\d'") == r"\d"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (True, 1, False),
        (False, 0, False),
        (1, 1.0, False),
        (0.0, -0.0, True),
        ("a", b"a", False),
        (None, False, False),
        ([1], (1,), False),
        ({1}, frozenset({1}), False),
        ({1}, {True}, False),
        ([1, 2], [2, 1], False),
        ({1, 2}, {2, 1}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({1: "x"}, {True: "x"}, False),
        ({1: "x"}, {1.0: "x"}, False),
        ({(1, 2): [3]}, {(1, 2): [3]}, True),
        ([[True]], [[1]], False),
        ({}, set(), False),
        ("", "", True),
        ([1], [1, 1], False),
    ],
)
def test_equality_compares_types_at_every_level(a: object, b: object, same: bool) -> None:
    assert literal_equal(a, b) is same
    assert literal_equal(b, a) is same


def test_equality_is_for_plain_values_only() -> None:
    with pytest.raises(TypeError, match="object"):
        literal_equal(object(), 1)


CALL = "f('a==b', [1])"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("[ANSWER]5[/ANSWER]", "5"),
        ("[ANSWER]\n1\n[/ANSWER] no wait [ANSWER]\n 2 \n[/ANSWER] done", "2"),
        ("[ANSWER]\nassert f('a==b', [1]) == {'k': '=='}\n[/ANSWER]", "{'k': '=='}"),
        ('[ANSWER]assert f("a==b", [1]) == (1,\n  2)[/ANSWER]', "(1,\n  2)"),
        ("[ANSWER]assert g(0) == 3[/ANSWER]", "3"),  # in a block, another call is better than none
        ("[ANSWER]f('a==b', [1]) == 4[/ANSWER]", "4"),
        ("[ANSWER]\n```python\n[1,\n 2]\n```\n[/ANSWER]", "[1,\n 2]"),
        ("thinking [ANSWER] 7", "7"),  # the closing tag was the stop sequence
        ("7\n[/ANSWER]\n[PYTHON]...[ANSWER]8[/ANSWER]", "7"),  # the opening tag ended the prompt
        ("So assert f('a==b', [1]) == 'x == y'  # see", "'x == y'"),
        ("assert f('a==b', [1]) == 1\nassert f('other', []) == 2", "1"),
        ("assert f('a==b', [1]) == 1\nHm.\nassert f('a==b', [1]) == 3", "3"),
        ("5\n\nassert f('other', []) == 2", "5"),
        ("`assert f('a==b', [1]) == 9`", "9"),
        ("assert f('a==b', [1]) is None", "None"),
        ("assert 6 == f('a==b', [1])", "6"),
        ("assert f('a==b', [1]) == set(), 'message'", "set()"),
        ("\n\n `'x'` \nrest", "'x'"),
        ("[ANSWER][/ANSWER]", None),
        ("```\n```", None),
        ("  \n", None),
        ("", None),
        ("I assert that it is == 3", "I assert that it is == 3"),
    ],
)
def test_extraction_finds_the_answer(completion: str, answer: str | None) -> None:
    assert extract_answer(completion, CALL) == answer


def test_without_a_call_the_last_assertion_counts() -> None:
    assert extract_answer("assert f(1) == 2\nassert f(2) == 3") == "3"


@pytest.mark.parametrize(
    ("completion", "expected", "passed", "status"),
    [
        ("[ANSWER]{'b': 1, 'a': [2]}[/ANSWER]", "{'a': [2], 'b': 1}", True, "passed"),
        ("[ANSWER]1[/ANSWER]", "True", False, "failed"),
        ("[ANSWER]2 + 2[/ANSWER]", "4", False, "error"),
        ("[ANSWER]0 or True[/ANSWER]", "True", False, "error"),
        ("[ANSWER]assert f(1) == f(1)[/ANSWER]", "1", False, "error"),
        ("I do not know", "1", False, "error"),
        ("", "''", False, "failed"),
        ("[ANSWER]" + "a" * 50_000, "1", False, "error"),
        ("'" + "a" * 50_000 + "'", repr("a" * 50_000), True, "passed"),
    ],
)
def test_grades(completion: str, expected: str, passed: bool, status: str) -> None:
    grade = grade_answer(completion, expected)
    assert (grade.passed, grade.status) == (passed, status)
    assert passed or 0 < len(grade.detail) < 400


def test_an_expected_output_without_a_literal_is_the_users_error() -> None:
    with pytest.raises(UserError, match="nan"):
        grade_answer("1", "nan")
