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
    Length,
    Memorised,
    NearDuplicate,
    Parses,
    Trivial,
)
from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError

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


@pytest.mark.parametrize(
    ("bounds", "detail"),
    [
        ((0, 99), None),
        ((24, 24), None),
        ((25, 99), "short: 24 tokens, fewer than 25"),
        ((0, 23), "long: 24 tokens, more than 23"),
    ],
)
def test_length_counts_the_programs_tokens(bounds: tuple[int, int], detail: str | None) -> None:
    # def f ( items , n ) : | total = 0 | for item in items : | total + = item * n | return total: 8+3+5+6+2
    assert Length(*bounds).reject(candidate(CODE + CALL)) == detail


def test_a_near_duplicate_is_named_with_its_jaccard_index() -> None:
    made = opened(NearDuplicate(threshold=0.6))
    assert made.reject(candidate(CODE + CALL, "s-0")) is None
    # One of 24 + 10 tokens differs, and with it 3 of 32 trigrams: 29 shared of 35 in all.
    close = CODE + CALL.replace("2]", "9]")
    assert made.reject(candidate(close, "s-1")) == "Jaccard 0.83 with s-0"
    far = "def f(a):\n    return sorted(a, key=len)[::-1]\n\nf(['x'])"
    assert made.reject(candidate(far, "s-2")) is None


def test_what_a_near_duplicate_was_rejected_for_is_no_measure_for_others() -> None:
    made = opened(NearDuplicate(threshold=0.8))
    chain = [CODE + f"\n\nf([1, 2, {', '.join('34567'[:count])}], 3)" for count in (1, 3, 5)]
    first, second, third = (made.reject(candidate(text, f"s-{n}")) for n, text in enumerate(chain))
    assert (first, second) == (None, "Jaccard 0.80 with s-0")
    assert third is None  # near the second alone, which is not there


def test_a_long_span_of_a_reference_is_memorised() -> None:
    made = opened(Memorised(max_span=0.6), "def f(a):\n    return a", CODE)
    # 22 tokens up to "* n" and the "return" are the same; "[ total , - total ]" is not.
    copy = CODE.replace("return total", "return [total, -total]")
    assert made.reject(candidate(copy + CALL)) == "span: 23 of 29 tokens stand in reference r-1"
    assert opened(Memorised(min_span=24, max_overlap=0.9), CODE).reject(candidate(copy + CALL)) is None
    assert opened(Memorised(max_span=0.9, max_overlap=0.9), CODE).reject(candidate(copy + CALL)) is None


def test_a_patchwork_of_references_is_memorised() -> None:
    other = "def g(x):\n    while x and x[0] != x[-1]:\n        x = x[1:-1]\n    return x"
    patchwork = CODE.rpartition("\n")[0] + "\n" + "\n".join(other.split("\n")[1:3]) + "\n    return 0"
    made = opened(Memorised(max_span=0.9, max_overlap=0.5), CODE, other)
    assert str(made.reject(candidate(patchwork + CALL))).startswith("overlap: ")
    assert opened(Memorised(max_span=0.9, max_overlap=0.5)).reject(candidate(patchwork + CALL)) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Length(5, 4),
        lambda: Length(-1, 4),
        lambda: NearDuplicate(threshold=0.0),
        lambda: NearDuplicate(ngram=0),
        lambda: Memorised(max_span=1.5),
        lambda: Memorised(ngram=0),
        lambda: Memorised(min_span=7),
    ],
)
def test_bounds_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(UserError, match="must be"):
        make()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("def f(a):\n    return a\n\nf(1)", "identity: it returns its argument a as it is"),
        (
            "def f(a, b):\n    'Doc.'\n    # why\n    return b\n\nf(1, 2)",
            "identity: it returns its argument b as it is",
        ),
        ("def f(a, *b):\n    return 7\n\nf(1)", "constant: it uses none of its arguments a, b"),
        ("def f(a):\n    x = []\n    return x * 3\n\nf(1)", "constant: it uses none of its arguments a"),
        ("def f(a):\n    return -a\n\nf(1)", None),
        ("def f(a):\n    a = sorted(a)\n    return a\n\nf([1])", None),
        ("def f():\n    return 7\n\nf()", None),
        ("def g(a):\n    return a\n\ndef f(a):\n    return g(a)\n\nf(1)", None),
        ("def f(a):\n    return [0 for _ in a]\n\nf([1])", None),
    ],
)
def test_a_function_that_does_nothing_with_its_arguments_is_trivial(text: str, detail: str | None) -> None:
    made = Trivial()
    made.open(Context(DOMAIN, []))
    assert made.reject(candidate(text)) == detail


def test_no_function_of_the_embedded_corpus_is_trivial() -> None:
    made = Trivial()
    made.open(Context(DOMAIN, []))
    rows = Source(CodeExec.corpus).rows()
    records = [DOMAIN.read(row, where) for where, row in rows]
    assert len(records) == 640
    assert [row["id"] for row in records if made.reject(candidate(row["text"])) is not None] == []
