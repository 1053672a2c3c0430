from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec
from domino_lightning.domains.codeexec_answers import extract_answer, grade_answer
from domino_lightning.errors import UserError
from domino_lightning.execution.literals import MAX_DEPTH, NotALiteral, literal_equal, parse_literal

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
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner),
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
        ("[ANSWER]1[/ANSWER]\n[PYTHON]\ndef f(): ...\n[/PYTHON]\n[ANSWER]2[/ANSWER]", "1"),  # its own next question
        ("[PYTHON]\nassert f('a==b', [1]) == ??\n[/PYTHON]\n[ANSWER]2[/ANSWER]", "2"),
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


WRAPPINGS = (
    "{value}",
    "[ANSWER]{value}[/ANSWER]",
    "Let me see.\n[ANSWER]\n{value}\n[/ANSWER]\nDone == done.",
    "[ANSWER]\nassert {call} == {value}\n[/ANSWER]",
    "assert {call} == {value}",
    "It is\n```python\nassert {call} == {value}  # so\n```\nbecause 1 == 1.",
    "[ANSWER]```\n{value}\n```[/ANSWER]",
    "{call} == {value}",
)


@given(VALUES, VALUES, st.sampled_from(WRAPPINGS))
def test_a_right_answer_passes_and_another_fails_however_it_is_wrapped(
    value: object, other: object, wrapping: str
) -> None:
    completion = wrapping.format(value=repr(value), call=CALL)
    assert grade_answer(completion, repr(value), CALL) == (True, "passed", "")
    assert grade_answer(completion, repr(other), CALL).passed == literal_equal(value, other)


OPERATORS = ("{a} + {b}", "{a} or {b}", "{a} if {b} else {a}", "({a}) == ({a})", "[{a}][0]", "not {a}", "{call}")


@given(VALUES, VALUES, st.sampled_from(OPERATORS), st.sampled_from(WRAPPINGS))
def test_an_expression_never_passes_whatever_it_would_evaluate_to(
    a: object, b: object, operator: str, wrapping: str
) -> None:
    expression = operator.format(a=repr(a), b=repr(b), call=CALL)
    completion = wrapping.format(value=expression, call=CALL)
    for expected in (a, b, True, False):
        assert not grade_answer(completion, repr(expected), CALL).passed


SOUP = st.lists(
    st.sampled_from(
        ["[", "]", "(", ")", "{", "}", ",", ":", "-", "+", "1", "2.5", "'a'", '"', "'", "\\", "b'x'", "set",
         "frozenset", "()", "True", "None", "==", "assert ", "f(1)", "\n", "#",
         "[ANSWER]", "[/ANSWER]", "```", "\x00", "\ud800"]
    )
    | st.text(max_size=3),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=400)
@given(SOUP)
def test_what_parses_means_what_python_says(text: str) -> None:
    try:
        value = parse_literal(text)
    except NotALiteral:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert literal_equal(value, eval(text.strip(), {"__builtins__": {"set": set, "frozenset": frozenset}}))


@settings(max_examples=400)
@given(SOUP)
def test_any_text_ends_in_a_verdict(text: str) -> None:
    grade = grade_answer(text, "1", "f(1)")
    assert grade.passed is (grade.status == "passed")
    assert grade.status in {"passed", "failed", "error"}


def test_every_completion_is_a_sample_whatever_it_holds() -> None:
    record = CodeExec().read({"id": "a", "code": "def f(a):\n    return a", "input": "1", "output": "1"}, "row")
    texts = ["1", "2", "", "  ", "I refuse", "[ANSWER]", "f(1)", "\ud800", "[ANSWER]1[/ANSWER]"]
    (verdicts,) = CodeExec().grade([record], [texts], workers=1)
    assert [verdict.passed for verdict in verdicts] == [True, *[False] * 7, True]
    assert [bool(verdict.detail) for verdict in verdicts] == [not verdict.passed for verdict in verdicts]


@pytest.mark.parametrize("name", ["cruxeval_dev.jsonl", "lcb_execution_dev.jsonl"])
def test_true_outputs_of_real_rows_pass_in_every_wrapping(shared_data: Path, name: str) -> None:
    rows = [CodeExec().read(row, where) for where, row in Source(str(shared_data / name)).rows()]
    failed = []
    for row in rows:
        call = f"{row['entry_point']}({row['input']})"
        texts = [wrapping.format(value=row["output"], call=call) for wrapping in WRAPPINGS]
        failed += [(row["id"], text) for text in texts if not grade_answer(text, row["output"], call).passed]
    assert len(rows) >= 400
    assert failed == []


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


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("[ANSWER]'a</s>b'[/ANSWER]", "'a</s>b'"),
        ("[ANSWER]['<|im_end|>', 1][/ANSWER]<|im_end|>\n<|im_start|>user", "['<|im_end|>', 1]"),
        ("[ANSWER]'[/ANSWER]'[/ANSWER]", "'[/ANSWER]'"),
        ('[ANSWER]"x [ANSWER] y"[/ANSWER]', '"x [ANSWER] y"'),
        ("'[PYTHON]'", "'[PYTHON]'"),
        ("<think>\nassert f(1) == 3\n</think>\n[ANSWER]4</s>", "4"),
        ("'it\\'s </think>'", "'it\\'s </think>'"),
        ("5<|eot_id|>6", "5"),
        ('The answer is "[ANSWER]5[/ANSWER]".', "5"),
    ],
)
def test_marks_count_only_outside_of_strings(completion: str, answer: str) -> None:
    assert extract_answer(completion) == answer
