"""The funnel accounts for every row, whatever the filters do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation import (
    Candidate,
    Context,
    CopiedFromReference,
    Curated,
    ExactDuplicate,
    Filter,
    Finished,
    Length,
    Memorised,
    NearDuplicate,
    Parses,
    Trivial,
    curate,
)
from domino_lightning.domains import CodeExec, Unparsable
from domino_lightning.errors import StageFailed, UserError

DOMAIN = CodeExec()
CONTEXT = Context(DOMAIN, [])
GOOD = "def f(a):\n    return a\n\nf({})"


class Scripted(Filter):
    """Passes, rejects or fails on a row as a table says."""

    reason = "scripted"

    def __init__(self, name: str, table: list[str]) -> None:
        self.reason = name  # type: ignore[misc]
        self.table = table
        self.seen: list[str] = []

    def reject(self, candidate: Candidate) -> str | None:
        self.seen.append(candidate.row["id"])
        what = self.table[int(candidate.row["id"])]
        if what == "crash":
            raise ZeroDivisionError("on purpose")
        if what == "unparsable":
            raise Unparsable("made_up", "on purpose")
        return None if what == "pass" else what


class Together(Scripted):
    """The same, several rows at a time from a generator, which a crash ends; its verdicts are journalled."""

    block_size = 3

    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        for candidate in candidates:
            candidate.notes[self.reason] = f"saw {candidate.row['id']}"
            yield self.reject(candidate)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the library handles it."""


def rows(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": str(k), "text": text, "finished": True, "num_tokens": 1, "extra": k} for k, text in enumerate(texts)]


outcomes = st.sampled_from(["pass", "pass", "pass", "too bad", "crash", "unparsable"])


@given(data=st.data())
def test_every_row_is_accepted_or_rejected_once_and_the_steps_add_up(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12), label="rows")
    texts = [data.draw(st.sampled_from([GOOD.format(k), "no python ("])) for k in range(count)]
    tables = data.draw(st.lists(st.lists(outcomes, min_size=count, max_size=count), max_size=4), label="tables")
    kinds = data.draw(st.lists(st.sampled_from([Scripted, Together]), min_size=4, max_size=4), label="kinds")
    filters = [kinds[number](f"filter {number}", table) for number, table in enumerate(tables)]
    with tempfile.TemporaryDirectory() as journal:
        accepted, rejected, funnel = curate(rows(texts), filters, CONTEXT, Path(journal))

    # By hand: the first filter that does not pass a row rejects it; an unreadable row is never accepted.
    expected = {
        str(k): next((f"filter {n}" for n, table in enumerate(tables) if table[k] != "pass"), None)
        or (None if text.startswith("def") else "parse")
        for k, text in enumerate(texts)
    }
    assert [record["id"] for record in accepted] == [k for k, reason in expected.items() if reason is None]
    assert {row["id"]: row["reason"] for row in rejected} == {k: why for k, why in expected.items() if why}
    assert len(accepted) + len(rejected) == count == funnel["candidates"]
    assert funnel["accepted"] == len(accepted)
    left = count
    for step in funnel["steps"]:
        assert step["in"] == left
        left = step["out"] = step["in"] - step["rejected"]
        assert step["rejected"] == sum(reason == step["filter"] for reason in expected.values())
    assert left == len(accepted)
    assert [step["filter"] for step in funnel["steps"]][: len(filters)] == [made.reason for made in filters]


def test_a_crashing_filter_rejects_the_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    table = ["pass", "crash", "pass"]
    accepted, rejected, _ = curate(rows([GOOD.format(k) for k in range(3)]), [Scripted("odd", table)], CONTEXT)
    assert [record["id"] for record in accepted] == ["0", "2"]
    assert (rejected[0]["reason"], rejected[0]["detail"]) == (
        "odd",
        "filter crashed: ZeroDivisionError: on purpose",
    )
    assert "Scripted crashed on row 1" in caplog.text


def test_an_interrupt_is_no_crash_of_a_filter() -> None:
    class Interrupted(Filter):
        reason = "interrupted"

        def reject(self, candidate: Candidate) -> str | None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        curate(rows([GOOD]), [Interrupted()], CONTEXT)


def test_a_rejected_row_is_not_shown_to_later_filters() -> None:
    first, second = Scripted("first", ["no", "pass"]), Scripted("second", ["pass", "pass"])
    curate(rows([GOOD.format(1), GOOD.format(2)]), [first, second], CONTEXT)
    assert (first.seen, second.seen) == (["0", "1"], ["1"])


def test_rejected_rows_keep_their_fields_and_accepted_ones_are_records() -> None:
    accepted, rejected, _ = curate(rows([GOOD.format(1), "x"]), [Parses()], CONTEXT)
    assert accepted == [{"id": "0", **DOMAIN.parse(GOOD.format(1))}]
    assert rejected == [
        {**rows(["", "x"])[1], "reason": "parse", "detail": "no_call: the last statement is not a call"}
    ]


def test_a_text_that_crashes_the_domains_parser_costs_that_row_alone() -> None:
    class Fragile(CodeExec):
        def parse(self, text: str) -> dict[str, Any]:
            if "boom" in text:
                raise RuntimeError("boom")
            return super().parse(text)

    domain = Fragile()
    for filters in ([], [ExactDuplicate()]):
        accepted, rejected, _ = curate(rows(["boom", GOOD.format(1)]), filters, Context(domain, []))
        assert ([row["id"] for row in accepted], [row["id"] for row in rejected]) == (["1"], ["0"])


def test_no_rows_give_an_empty_funnel() -> None:
    assert curate([], [Parses()], CONTEXT) == (
        [],
        [],
        {"candidates": 0, "steps": [{"filter": "parse", "in": 0, "rejected": 0, "out": 0, "codes": {}}], "accepted": 0},
    )


PARTS = [
    "return a",
    "return b",
    "x = [a, b]\n    return x + x",
    "for i in a:\n        b += i\n    return b",
    "while a: print(a",
]
SHIPPED = [Finished, Parses, Length, Trivial, ExactDuplicate, NearDuplicate, CopiedFromReference, Memorised]


@given(
    texts=st.lists(
        st.tuples(st.sampled_from(PARTS), st.sampled_from(["f(1, 2)", "f(a=3)", "g(1)", ""]), st.booleans())
    ),
    kinds=st.lists(st.sampled_from(SHIPPED)),
)
def test_the_shipped_filters_add_up_in_any_order_and_number(
    texts: list[tuple[str, str, bool]], kinds: list[type[Filter]]
) -> None:
    reference = DOMAIN.read({"id": "r", "code": f"def f(a, b):\n    {PARTS[0]}", "input": "1, 2"}, "row")
    raw = [
        {"id": str(k), "text": f"def f(a, b):\n    {body}\n\n{call}", "finished": done, "num_tokens": 9}
        for k, (body, call, done) in enumerate(texts)
    ]
    accepted, rejected, funnel = curate(raw, [kind() for kind in kinds], Context(DOMAIN, [reference]))
    assert sorted([row["id"] for row in accepted] + [row["id"] for row in rejected]) == sorted(r["id"] for r in raw)
    assert sum(step["rejected"] for step in funnel["steps"]) + len(accepted) == len(raw) == funnel["candidates"]
    assert all(sum(step["codes"].values()) == step["rejected"] for step in funnel["steps"] if "codes" in step)
    assert all(row["reason"] and row["detail"] for row in rejected)


@given(data=st.data())
def test_a_kill_at_any_row_and_a_second_run_give_what_one_run_gives(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 10), label="rows")
    texts = [GOOD.format(k) for k in range(count)]
    tables = data.draw(st.lists(st.lists(outcomes, min_size=count, max_size=count), min_size=1, max_size=3))
    reviews = data.draw(st.integers(0, count * len(tables)), label="reviews before the kill")

    def filters(limit: int | None = None) -> list[Filter]:
        made = [Together(f"filter {number}", table) for number, table in enumerate(tables)]
        budget = iter(range(limit)) if limit is not None else None
        for each in made:
            original = each.reject

            def reject(candidate: Candidate, original: Any = original) -> str | None:
                if budget is not None and next(budget, None) is None:
                    raise Killed
                found: str | None = original(candidate)
                return found

            each.reject = reject  # type: ignore[method-assign]
        return list(made)

    def run(made: Sequence[Filter], journal: Path | None) -> Curated:
        return curate(rows(texts), made, CONTEXT, journal)

    expected = run(filters(), None)
    with tempfile.TemporaryDirectory() as folder:
        try:
            assert run(filters(reviews), Path(folder)) == expected
        except Killed:
            again = filters()
            assert run(again, Path(folder)) == expected
            repeated = sum(len(each.seen) for each in again if isinstance(each, Together))
            whole = sum(step["in"] for step in expected.funnel["steps"])
            assert repeated <= whole - reviews + 3  # at most the block that was cut off


def test_a_journal_of_other_rows_is_refused(tmp_path: Path) -> None:
    curate(rows([GOOD.format(1)]), [Together("costly", ["pass"])], CONTEXT, tmp_path)
    other = [{**row, "id": "9"} for row in rows([GOOD.format(1)])]
    with pytest.raises(StageFailed, match="belongs to other rows"):
        curate(other, [Together("costly", ["pass"] * 10)], CONTEXT, tmp_path)


def test_what_filters_note_stays_with_the_row() -> None:
    chain = [Together("costly", ["pass", "no"])]
    accepted, rejected, _ = curate(rows([GOOD.format(0), GOOD.format(1)]), chain, CONTEXT)
    assert (accepted[0]["notes"], rejected[0]["notes"]) == ({"costly": "saw 0"}, {"costly": "saw 1"})


class Rated(Scripted):
    """Notes a rating under its reason and one under a name that others use too."""

    block_size = 2

    def __init__(self, value: int, table: list[str], dies_at: str = "") -> None:
        super().__init__("judge", table)
        self.value, self.dies_at = value, dies_at

    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        for candidate in candidates:
            if candidate.row["id"] == self.dies_at:
                raise Killed
            if self.value == 1 or int(candidate.row["id"]) > 0:  # the second says nothing of the first row
                candidate.notes[self.reason] = {"clarity": self.value}
                candidate.notes["mean"] = self.value
            yield self.reject(candidate)

    def facts(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        return {"rated": sum(self.reason in candidate.notes for candidate in candidates)}


def test_two_judges_keep_their_own_notes_and_counts_also_after_a_kill(tmp_path: Path) -> None:
    texts = [GOOD.format(k) for k in range(5)]
    first = ["pass"] * 4 + ["unclear"]
    second = ["pass", "pass", "dull", "pass", "pass"]
    expected = curate(rows(texts), [Rated(1, first), Rated(2, second)], CONTEXT)
    by_id = {row["id"]: row["notes"] for row in [*expected.accepted, *expected.rejected]}
    both = {"judge": {"clarity": 1}, "mean": 1, "judge-2": {"clarity": 2}, "mean-2": 2}
    one = {"judge": {"clarity": 1}, "mean": 1}
    assert by_id == {"0": one, "1": both, "2": both, "3": both, "4": one}
    assert [(row["id"], row["reason"]) for row in expected.rejected] == [("2", "judge-2"), ("4", "judge")]
    steps = [(step["filter"], step["rejected"], step["facts"]) for step in expected.funnel["steps"]]
    assert steps == [("judge", 1, {"rated": 5}), ("judge-2", 1, {"rated": 3})]

    for dies_at in ("1", "3"):
        journal = tmp_path / dies_at
        journal.mkdir()
        with pytest.raises(Killed):
            curate(rows(texts), [Rated(1, first), Rated(2, second, dies_at)], CONTEXT, journal)
        resumed = curate(rows(texts), [Rated(1, first), Rated(2, second)], CONTEXT, journal)
        assert json.dumps(resumed) == json.dumps(expected)  # the order of keys too


def test_a_filter_sees_what_the_ones_before_it_noted() -> None:
    class Reads(Scripted):
        def reject(self, candidate: Candidate) -> str | None:
            assert not candidate.notes
            return f"mean {candidate.earlier['mean']}"

    rejected = curate(rows([GOOD.format(0)]), [Rated(1, ["pass"]), Reads("reads", ["pass"])], CONTEXT).rejected
    assert rejected[0]["detail"] == "mean 1"


def test_what_other_filters_noted_cannot_be_written_over() -> None:
    class Overwrites(Filter):
        reason = "mine"

        def reject(self, candidate: Candidate) -> str | None:
            candidate.earlier["first"] = "I say so"  # type: ignore[index]
            return None

    _, rejected, _ = curate(rows([GOOD.format(1)]), [Overwrites()], CONTEXT)
    assert "filter crashed: TypeError" in rejected[0]["detail"]


def test_a_missing_benchmark_is_no_fault_of_a_row() -> None:
    class Broken(Filter):
        reason = "broken"

        def reject(self, candidate: Candidate) -> str | None:
            raise UserError("no such file")

    with pytest.raises(UserError, match="no such file"):
        curate(rows([GOOD]), [Broken()], CONTEXT)


class Leaves(Filter):
    """Leaves something odd with a row."""

    reason = "mine"

    def __init__(self, leave: Any, verdicts: Any = None) -> None:
        self.leave, self.verdicts = leave, verdicts

    def reject(self, candidate: Candidate) -> str | None:
        said: str | None = self.leave(candidate)
        return said

    def review(self, candidates: Sequence[Candidate]) -> Any:
        return map(self.reject, candidates) if self.verdicts is None else self.verdicts(candidates)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Leaves(lambda _: False), "reject must return a text or None, and returned False"),
        (Leaves(lambda _: ""), "a row is rejected by a text that says why, and this one is empty"),
        (Leaves(lambda each: each.notes.update(x={1, 2})), r"candidate\.notes\['x'\] must be what JSON can hold"),
        (Leaves(lambda each: each.notes.update(x=np.float32(1.5))), r"write float\(\.\.\.\) around it"),
        (Leaves(lambda each: each.record.update(text="new")), r"changed candidate\.record\['text'\] of row '0'"),
        (Leaves(lambda each: each.row.update(a=[{3}])), r"changed candidate\.row\['a'\] of row '0'"),
        (Leaves(lambda each: each.row.update(extra=float(each.row["extra"]))), r"candidate\.row\['extra'\] of row '0'"),
        (Leaves(lambda each: each.record.pop("group") and None), r"candidate\.record\['group'\] of row '0'"),
        (Leaves(None, lambda each: [each[0].row.update(text="x") for _ in each]), r"changed candidate\.row\['text'\]"),
        (Leaves(None, lambda _: None), "review must return a list, each item a text or None, and returned None"),
        (Leaves(None, lambda each: [5 for _ in each]), r"in what it returned \[0\] is 5"),
        (Leaves(None, lambda _: [None]), "one result for each of the 3 it was given, and gave 1"),
        (Leaves(None, lambda _: iter([None])), "one result for each of the 3 it was given, and gave 1"),
        (Leaves(None, lambda _: iter([None] * 4)), "one result for each of the 3 it was given, and gave more"),
    ],
)
@pytest.mark.parametrize("block_size", [None, 8])
def test_a_filter_that_breaks_its_contract_is_told_and_rejects_nothing_in_silence(
    made: Leaves, words: str, block_size: int | None, tmp_path: Path
) -> None:
    made.block_size = block_size  # type: ignore[misc]
    with pytest.raises(UserError, match=rf"test_funnel\.Leaves breaks domino_lightning\.curation\.Filter: .*{words}"):
        curate(rows([GOOD.format(n) for n in range(3)]), [made], CONTEXT, tmp_path)
