"""A domain with a check: answers are kept, and scored, by it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_lightning.domains import Agreement, Unparsable, VerifiableDomain
from domino_lightning.errors import UserError


class Palindromes(VerifiableDomain):
    """Write a palindrome that holds a given letter."""

    def read(self, row: Any, where: str) -> Any:
        return {"letter": row["letter"], **({"answer": row["answer"]} if "answer" in row else {})}

    def render(self, record: Any) -> str:
        return f"Letter: {record['letter']}"

    def parse(self, text: str) -> Any:
        letter = text.strip().removeprefix("Letter: ")
        if len(letter) != 1:
            raise Unparsable("form", "no letter")
        return {"letter": letter}

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": f"A palindrome with {record['letter']}, please."}]

    def check(self, record: Any, answer: str) -> bool | str:
        if answer == "bug":
            raise KeyError("x")
        if record["letter"] not in answer:
            return f"no {record['letter']}"
        return answer == answer[::-1]


DOMAIN = Palindromes()
RECORD = DOMAIN.record({"letter": "b"}, "line 1")


def test_a_verdict_tells_the_checks_reason() -> None:
    ((right, wrong, unlike, empty, broken),) = DOMAIN.grade([RECORD], [["abba", "aa", "ab", " \n", "bug"]], 1)
    assert right.passed and right.status == "passed"
    assert (wrong.passed, wrong.status, wrong.detail) == (False, "failed", "no b")
    assert (unlike.status, unlike.detail) == ("failed", "the check says no")
    assert (empty.status, empty.detail) == ("failed", "no text")
    assert (broken.passed, broken.status, broken.detail) == (False, "error", "check raised KeyError: 'x'")


@pytest.mark.parametrize("given", [[], [True, True, True]])
def test_a_grade_of_another_number_of_completions_is_refused(given: Any) -> None:
    class Miscounts(Palindromes):
        def grade(self, records: Any, completions: Any, workers: int) -> Any:
            for _ in records:
                yield [self.verdict(RECORD, "abba") for _ in given]

    told = rf"Miscounts breaks .*as many items in \[0\] as completions\[0\] has, 2, and gave {len(given)}"
    with pytest.raises(UserError, match=told):
        list(Miscounts().grade([RECORD], [["abba", "b"]], 1))


def test_the_first_answer_that_passes_is_taken_and_the_share_noted() -> None:
    (found,) = DOMAIN.answer([RECORD], 1, [["aa", "aba", "bb", "ab"]])
    assert found.reason is None
    assert found.record["answer"] == "aba"
    assert found.record["agreement"] == {"rate": 0.5, "solutions": 4}


def test_without_one_the_most_common_reason_is_told() -> None:
    (found,) = DOMAIN.answer([RECORD], 1, [["aa", "cc", "ab"]])
    assert (found.reason, found.detail) == ("check", "none of 3 answers passes; 2 of them: no b")
    assert not DOMAIN.has_answer(found.record)


def test_unchecked_answers_are_taken_only_where_that_is_asked_for() -> None:
    (found,) = DOMAIN.answer([RECORD], 1, [["", "aa"]], Agreement(own_tests=False))
    assert (found.record["answer"], found.record["agreement"]["rate"]) == ("aa", 0.0)


@pytest.mark.parametrize(("answer", "problem"), [("abba", None), ("xx", "its own check does not pass (no b)")])
def test_a_references_own_answer_must_pass(answer: str, problem: str | None) -> None:
    found = DOMAIN.problem(DOMAIN.record({"letter": "b", "answer": answer}, "line 1"))
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("found", [None, 1, np.True_])
def test_a_check_that_says_neither_yes_nor_no_is_told(found: Any) -> None:
    class Vague(VerifiableDomain):
        read = render = parse = prompt = None  # type: ignore[assignment]

        def check(self, record: Any, answer: str) -> Any:
            return found

    with pytest.raises(UserError, match="Vague breaks .*Domain: check must return True or False"):
        Vague().verdict({}, "4")


@pytest.mark.parametrize("answer", ["", " \n", None])
def test_an_empty_answer_of_a_row_is_none_and_not_a_wrong_one(answer: str | None) -> None:
    record = DOMAIN.record({"letter": "c", "answer": answer}, "rows.jsonl, line 2")
    assert DOMAIN.problem(record) is None and not DOMAIN.has_answer(record)
