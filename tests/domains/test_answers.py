"""Answers that are values in a table: their text, and what is the same answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from domino_lightning.domains import Domain
from domino_lightning.domains.answers import as_text, is_same


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Danube ", "Danube "),
        (17, "17"),
        (-3.0, "-3.0"),
        (False, "False"),
        (math.inf, "inf"),
        (["a", 1.5, None], '["a", 1.5, null]'),
        ({"ü": True}, '{"ü": true}'),
        (None, None),
        (math.nan, None),
    ],
)
def test_values_read_as_an_f_string_has_them_and_nothing_is_none(value: Any, text: str | None) -> None:
    assert as_text(value) == text
    if isinstance(value, str | bool | int) or (isinstance(value, float) and text):
        assert f"{value}" == text  # what render writes and what the pair says


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42.0),
        (" 42.0\n", 42),
        ("+4.2e1", 42),
        ("0.10", 0.1),
        (".5", 0.5),
        ("-0", 0),
        ("0.1000000000000000055511151231257827", 0.1),
        ("12345678901234567890123", 12345678901234567890123),
        ("TRUE", True),
        ("true", True),
        ("false\n", False),
        ("inf", math.inf),
        ("a  b", " a b"),
    ],
)
def test_numbers_are_the_same_as_numbers_and_truth_values_whatever_their_case(text: str, value: Any) -> None:
    assert is_same(text, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42.0"),  # a text, perhaps a version
        ("true", "True"),
        ("43", 42.0),
        ("12345678901234567890124", 12345678901234567890123),
        ("1", True),
        ("0", False),
        ("yes", True),
        ("True", 1),
        ("4 2", 42),
        ("42 apples", 42),
        ("4_2", 42),
        ("٤٢", 42),
        ("nan", 0.0),
        ("1e999999999999999999999999", 42),
        ("9" * 5000, 42),
        ("", 0),
        ("", ""[:0] or "x"),
    ],
)
def test_other_answers_are_not_the_same(text: str, value: Any) -> None:
    assert not is_same(text, value)


class Sums(Domain):
    """Sums, whose answers are what the table has."""

    def read(self, row: Any, where: str) -> Any:
        return dict(row)

    def render(self, record: Any) -> str:
        return f"{record['sum']} = {record['answer']}"

    def parse(self, text: str) -> Any:
        left, _, right = text.partition(" = ")
        return {"sum": left, "answer": right}

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": record["sum"]}]


class InWords(Sums):
    """Sums whose answer is a sentence."""

    def answer_text(self, record: Any) -> str | None:
        return f"It is {record['answer']}."


def passed(domain: Domain, answer: Any, *completions: str) -> list[bool]:
    record = domain.record({"sum": "6 * 7", "answer": answer}, "sums.parquet, row 1")
    (verdicts,) = domain.grade([record], [completions], 1)
    assert all((verdict.status == "passed") is verdict.passed for verdict in verdicts)
    return [verdict.passed for verdict in verdicts]


def test_a_column_with_a_gap_and_truth_values_are_graded_as_what_they_are() -> None:
    assert passed(Sums(), 42.0, "42", "42.0", "42.5", "") == [True, True, False, False]
    assert passed(Sums(), True, "true", "True", "False") == [True, True, False]
    assert passed(Sums(), "42.0", "42", "42.0") == [False, True]
    assert passed(InWords(), 42, "42", "It is  42.") == [False, True]


def test_the_text_and_the_pair_have_one_answer_and_a_gap_has_none() -> None:
    for value in (42.0, True, 7, "x"):
        record = Sums().record({"sum": "s", "answer": value}, "sums.parquet, row 1")
        assert record["text"] == f"s = {Sums().pair(record)[-1]['content']}"
    gap = Sums().record({"sum": "s", "answer": math.nan}, "sums.parquet, row 2")
    assert Sums().answer_text(gap) is None and not Sums().has_answer(gap)
    (answered,) = Sums().answer([gap], 1)
    assert answered.reason == "no_answer"
