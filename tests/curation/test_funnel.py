"""The funnel accounts for every row, whatever the filters do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation import Candidate, Context, ExactDuplicate, Filter, Parses, curate
from domino_lightning.domains import CodeExec, Unparsable

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


def rows(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": str(k), "text": text, "finished": True, "num_tokens": 1, "extra": k} for k, text in enumerate(texts)]


outcomes = st.sampled_from(["pass", "pass", "pass", "too bad", "", "crash", "unparsable"])


@given(data=st.data())
def test_every_row_is_accepted_or_rejected_once_and_the_steps_add_up(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12), label="rows")
    texts = [data.draw(st.sampled_from([GOOD.format(k), "no python ("])) for k in range(count)]
    tables = data.draw(st.lists(st.lists(outcomes, min_size=count, max_size=count), max_size=4), label="tables")
    filters = [Scripted(f"filter {number}", table) for number, table in enumerate(tables)]
    accepted, rejected, funnel = curate(rows(texts), filters, CONTEXT)

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
        {"candidates": 0, "steps": [{"filter": "parse", "in": 0, "rejected": 0, "out": 0}], "accepted": 0},
    )
