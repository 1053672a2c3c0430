"""The choice of rows and the comparison with the references."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.domains import CodeExec
from domino_lightning.reporting.reader import Reader
from domino_lightning.reporting.samples import (
    accepted_samples,
    clip,
    evaluation_items,
    novelty,
    rejected_samples,
    spread,
)

READER = Reader(CodeExec())


@given(st.lists(st.integers()), st.integers(min_value=0, max_value=20))
def test_spread_takes_distinct_places_with_both_ends(rows: list[int], count: int) -> None:
    chosen = spread(list(enumerate(rows)), count)
    assert len(chosen) == min(len(rows), count)
    assert chosen == sorted(set(chosen))
    if count > 1 and rows:
        assert (chosen[0][0], chosen[-1][0]) == (0, len(rows) - 1)


def test_new_functions_are_counted_once_and_not_by_layout_or_name() -> None:
    references = [{"code": "def f(x):\n    return x + 1", "entry_point": "f"}]
    same = {"code": "def g(x):  # a comment\n  return (x+1)", "entry_point": "g"}
    recursive = {"code": "def g(x): return g(x - 1)", "entry_point": "g"}
    renamed = {"code": "def h(y): return h(y - 1)", "entry_point": "h"}
    broken = {"code": "def f(:", "entry_point": "f"}
    found = novelty([same, recursive, renamed, broken], references, READER)
    assert (found.new, found.distinct, found.rows) == (2, 3, 4)


def test_accepted_rows_carry_their_answers_and_nearest_reference() -> None:
    accepted = [{"id": str(i), "code": f"def f(x): return {i}", "entry_point": "f", "input": "1"} for i in range(30)]
    answered = [{**accepted[0], "output": "0"}]
    samples = accepted_samples(accepted, answered, accepted[:1], READER)
    assert len(samples) == 12
    assert (samples[0].output, samples[1].output) == ("0", None)
    assert (samples[0].similarity, samples[0].nearest_id, samples[0].call) == (1.0, "0", "f(1)")
    assert samples == accepted_samples(accepted, answered, accepted[:1], READER)


def test_rare_reasons_are_shown_beside_frequent_ones() -> None:
    rows = [{"id": str(i), "text": "x", "reason": "parse"} for i in range(100)] + [{"id": "r", "reason": "rare"}]
    chosen = rejected_samples({"curate": rows, "answer": [{"id": "t", "reason": "timeout"}]}, READER)
    assert [row.reason for row in chosen] == ["parse", "rare", "timeout", "parse", "parse", "parse"]


def test_items_are_split_by_the_verdict_on_the_first_completion() -> None:
    test = [{"id": str(i), "code": "c", "entry_point": "f", "input": "1", "output": str(i)} for i in range(3)]
    generations = [{"id": str(i), "completions": [f"text {i}", "other"]} for i in range(3)]
    outcomes = [("0", True), ("1", False), ("2", False)]
    verdicts = [{"id": i, "verdicts": [{"passed": ok, "status": "x"}, {"passed": not ok}]} for i, ok in outcomes]
    passed, failed = evaluation_items(test, generations, [*verdicts, {"id": "none", "verdicts": []}], READER)
    assert [item.id for item in passed] == ["0"]
    assert [(item.id, item.expected, item.completion) for item in failed] == [
        ("1", "1", "text 1"),
        ("2", "2", "text 2"),
    ]


def test_long_text_is_cut_with_a_count() -> None:
    assert clip("a" * 12, 10) == "a" * 10 + "\n… 2 more characters"
    assert clip(None) == ""
