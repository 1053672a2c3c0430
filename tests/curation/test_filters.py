"""Filters, one by one: what each rejects, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.curation import (
    Candidate,
    Context,
    CopiedFromReference,
    ExactDuplicate,
    Filter,
    Finished,
    Parses,
)
from domino_lightning.domains import CodeExec

CODE = "def f(items, n):\n    total = 0\n    for item in items:\n        total += item * n\n    return total"
CALL = "\n\nf([1, 2], 3)"
DOMAIN = CodeExec()


def candidate(text: str, row_id: str = "s-0", finished: bool = True) -> Candidate:
    return Candidate({"id": row_id, "text": text, "finished": finished, "num_tokens": 9}, DOMAIN)


def opened(made: Filter, *references: str) -> Filter:
    read = [DOMAIN.read({"id": f"r-{n}", "code": code, "input": "1"}, "row") for n, code in enumerate(references)]
    made.open(Context(DOMAIN, read))
    return made


def test_a_text_cut_at_the_limit_is_unfinished() -> None:
    assert Finished().reject(candidate("x")) is None
    assert Finished().reject(candidate("x", finished=False)) == "no EOS within 9 tokens"


@pytest.mark.parametrize(
    ("text", "detail"),
    [(CODE + CALL, None), (CODE, "no_call: "), ("def f(", "syntax: line 1: "), ("", "empty: no text")],
)
def test_a_text_that_is_no_record_does_not_parse(text: str, detail: str | None) -> None:
    found = Parses().reject(candidate(text))
    assert found is None if detail is None else str(found).startswith(detail)


def test_the_first_of_equal_records_stays() -> None:
    made = opened(ExactDuplicate())
    spaced = CODE.replace(" * ", "*").replace("    ", "  ") + "\n\n\nf( [1,2],3 )  # again"
    assert made.reject(candidate(CODE + CALL, "s-0")) is None
    assert made.reject(candidate(spaced, "s-1")) == "same as s-0"
    assert made.reject(candidate(CODE + "\n\nf([1], 3)", "s-2")) is None
    assert made.reject(candidate(CODE.replace("total", "sum_") + CALL, "s-3")) is None


def test_opening_again_forgets_what_was_seen() -> None:
    made = opened(ExactDuplicate())
    made.reject(candidate(CODE + CALL, "s-0"))
    assert opened(made).reject(candidate(CODE + CALL, "s-1")) is None


@pytest.mark.parametrize(
    "copy",
    [
        CODE,
        CODE.replace("total", "acc")
        .replace("items", "xs")
        .replace("item", "x")
        .replace("n)", "k)")
        .replace("* n", "* k"),
        CODE.replace("    ", "  ").replace(" += ", "+="),
        CODE.replace("    total = 0", "    # start\n    total = 0\n"),
        CODE.replace("def f(items, n):", 'def f(items: list, n: int) -> int:\n    """Weighted sum."""'),
    ],
    ids=["the same", "renamed", "layout", "comment", "annotated"],
)
def test_a_references_function_under_other_names_is_copied(copy: str) -> None:
    made = opened(CopiedFromReference(), "def f(a):\n    return a", CODE)
    assert made.reject(candidate(copy + "\n\nf([7], 8)")) == "same as reference r-1"


@pytest.mark.parametrize("change", [("*", "+"), ("= 0", "= 1"), ("return total", "return -total")])
def test_another_function_is_not_copied(change: tuple[str, str]) -> None:
    assert opened(CopiedFromReference(), CODE).reject(candidate(CODE.replace(*change) + CALL)) is None


def test_a_candidate_is_parsed_once_and_keeps_its_id() -> None:
    calls: list[str] = []

    class Counting(CodeExec):
        def parse(self, text: str) -> dict[str, Any]:
            calls.append(text)
            return super().parse(text)

    made = Candidate({"id": "s-5", "text": CODE + CALL}, Counting())
    assert (made.record["id"], made.record["input"]) == ("s-5", "[1, 2], 3")
    assert (made.record["code"], len(calls)) == (CODE, 1)
