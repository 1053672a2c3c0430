"""Splits by date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.cli.main import main
from domino_lightning.data.source import Source, Split, overlap, split_records
from domino_lightning.data.windows import Windows, day_of
from domino_lightning.domains import CodeExec, CodeGen
from domino_lightning.errors import UserError

WINDOWS = Windows(reference=("2023-05-01", "2023-10-01"), test=("2023-10-01", "2024-01-01"))


def row(name: str, day: str, group: str | None = None) -> dict[str, Any]:
    return {"id": name, "group": group or name, "contest_date": day}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in rows]


def test_windows_hold_their_first_day_and_not_their_last() -> None:
    rows = [
        row("before", "2023-04-30T23:59:59"),
        row("first", "2023-05-01T00:00:00"),
        row("last", "2023-09-30 23:00:00"),
        row("test", "2023-10-01"),
        row("after", "2024-01-01"),
    ]
    sides = WINDOWS.sides(rows)
    assert (ids(sides.reference), ids(sides.test)) == (["first", "last"], ["test"])
    assert (sides.outside, sides.straddling) == (2, 0)


def test_a_group_in_both_windows_stays_in_the_earlier() -> None:
    rows = [row("a", "2023-06-01", "g"), row("b", "2023-11-01", "g"), row("c", "2023-11-02", "h")]
    sides = WINDOWS.sides(rows)
    assert (ids(sides.reference), ids(sides.test), sides.straddling) == (["a"], ["c"], 1)
    turned = Windows(reference=WINDOWS.test, test=WINDOWS.reference)
    assert [ids(side) for side in turned.sides(rows)[:2]] == [["c"], ["a"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": ("2023-05-01", "2023-05-01")}, "holds no day"),
        ({"reference": ("2023-05-01", "2023-10-02")}, "overlap"),
        ({"test": ("2023-13-01", "2024-01-01")}, "windows.test: month must be"),
    ],
)
def test_windows_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Windows(**{"reference": WINDOWS.reference, "test": WINDOWS.test, **settings}).days()


def test_windows_come_from_the_experiment(write_experiment: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_experiment({"prepare": {"split": {"windows": {"reference": [], "test": []}}}})
    given = ["prepare.split.windows.reference=[2023-05-01,2023-06-01]"]
    assert main(["prepare", str(path), *given, "prepare.split.windows.test=[2023-05-01,2024-01-01]"]) == 2
    assert "2023-05-01 to 2023-06-01 and 2023-05-01 to 2024-01-01 overlap" in capsys.readouterr().err
    assert main(["prepare", str(path), given[0], "prepare.split.windows.test=[2023-07-01,2024-01-01]"]) == 2
    assert "row 'fn-0-0' has no ISO date in 'contest_date'; it is None" in capsys.readouterr().err


def test_a_record_without_a_date_is_named() -> None:
    with pytest.raises(UserError, match=r"row 'x' has no ISO date in 'contest_date'; it is 'soon'"):
        WINDOWS.sides([row("x", "soon")])
    assert day_of({"contest_date": None}, "contest_date") is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12)), min_size=1, max_size=40), st.integers(0, 5))
def test_no_split_holds_a_row_of_the_others_window_nor_shares_a_group(drawn: list[tuple[int, int]], seed: int) -> None:
    rows = [row(str(i), f"2023-{month:02d}-15", f"g{group}") for i, (group, month) in enumerate(drawn)]
    try:
        parts = split_records(rows, Split(1, 1, None, WINDOWS), seed)
    except UserError as error:
        assert "distinct groups in the" in str(error)
        return
    assert set(overlap(parts)["overlap"].values()) == {0}
    for name, window in (("reference", WINDOWS.reference), ("heldout", WINDOWS.reference), ("test", WINDOWS.test)):
        assert parts[name]
        assert all(window[0] <= each["contest_date"] < window[1] for each in parts[name])


def test_sizes_count_groups_of_each_window() -> None:
    rows = [row(f"a{i}", "2023-06-01") for i in range(5)] + [row(f"b{i}", "2023-11-01") for i in range(4)]
    assert {name: len(part) for name, part in split_records(rows, Split(None, 2, None, WINDOWS), 0).items()} == {
        "reference": 3,
        "heldout": 2,
        "test": 4,
    }
    with pytest.raises(UserError, match="asks for 5 of 4 distinct groups in the test window"):
        split_records(rows, Split(1, 1, 5, WINDOWS), 0)


@pytest.mark.parametrize(
    ("name", "domain"), [("lcb_public_dev.jsonl", CodeGen()), ("lcb_execution_dev.jsonl", CodeExec())]
)
def test_livecodebench_splits_by_contest_date(shared_data: Path, name: str, domain: Any) -> None:
    records = [domain.read(each, where) for where, each in Source(str(shared_data / name)).rows()]
    windows = Windows(reference=("2023-05-01", "2023-10-01"), test=("2023-10-01", "2024-04-01"))
    parts = split_records(records, Split(None, 10, None, windows), 0)
    assert min(len(part) for part in parts.values()) >= 10
    assert sum(len(part) for part in parts.values()) == len(records)
    assert max(each["contest_date"] for each in parts["reference"]) < "2023-10-01"
    assert min(each["contest_date"] for each in parts["test"]) >= "2023-10-01"
    problems = [{each.get("question_id") for each in part} for part in parts.values()]
    assert not (problems[0] & problems[2] or problems[1] & problems[2] or problems[0] & problems[1])
