"""Raw rows from files, and a split by hash in which no group is on two sides."""

from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.data.source import (
    SPLITS,
    Source,
    Split,
    overlap,
    split_records,
    with_distinct_ids,
    without_repeats,
)
from domino_lightning.errors import UserError
from domino_lightning.store.contents import data_hash

ROWS = [{"id": number, "text": f"é {number}"} for number in range(5)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def plain(path: Path, **settings: Any) -> list[dict[str, Any]]:
    return [row for _, row in Source(str(path), **settings).rows()]


# Files


def test_json_lines_gzip_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(file.read_bytes() + b"\n"))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert [plain(tmp_path / f"rows.{ending}") for ending in ("jsonl", "jsonl.gz", "parquet")] == [ROWS] * 3


def test_a_files_content_says_what_it_is_whatever_its_ending(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "plain.gz", ROWS)
    for name in ("rows.JSONL.GZ", "rows.jsonl"):
        (tmp_path / name).write_bytes(gzip.compress(file.read_bytes()))
    for name in ("rows.PARQUET", "rows.pq", "rows"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / name)
    names = ("plain.gz", "rows.JSONL.GZ", "rows.jsonl", "rows.PARQUET", "rows.pq", "rows")
    assert [plain(tmp_path / name) for name in names] == [ROWS] * 6


def test_rows_are_named_by_file_and_number(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    assert [where for where, _ in Source(str(file), limit=2).rows()] == [f"{file}, line 1", f"{file}, line 2"]


def test_a_file_of_an_installed_package_is_found() -> None:
    assert len(Source("pip:domino_lightning/corpus/functions.jsonl", limit=3).rows()) == 3


def test_values_that_json_does_not_know_become_text(tmp_path: Path) -> None:
    rows = [{"id": 1, "date": datetime.datetime(2023, 5, 13), "tags": ["a"]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (row,) = plain(tmp_path / "rows.parquet")
    assert row == {"id": 1, "date": "2023-05-13 00:00:00", "tags": ["a"]}
    assert without_repeats([row]) == [row]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "no such file"),
        ("empty.jsonl", b"\n", "has no rows"),
        ("bad.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("list.jsonl", b"[1]\n", "line 1: a list, where an object is expected"),
        ("latin.jsonl", b'{"a": "\xe9"}\n', "line 1: not UTF-8"),
        ("bad.parquet", b"PAR1", "not a readable Parquet file"),
        ("cut.gz", gzip.compress(b'{"a": 1}\n' * 50, mtime=0)[:-12], "not a whole gzip file"),
        ("bad.gz", gzip.compress(b'\n{"a": 1}\n\n{"a": \n', mtime=0), "line 4: not JSON"),
        ("list.gz", gzip.compress(b"\n[1]\n", mtime=0), "line 2: a list, where an object is expected"),
    ],
)
def test_a_broken_source_is_named_with_its_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        Source(str(tmp_path / name)).rows()
    assert name in str(caught.value)
    assert message in str(caught.value)


def test_a_gzip_file_with_a_flipped_byte_is_an_error_not_a_crash(tmp_path: Path) -> None:
    data = gzip.compress("".join(f'{{"a": {number}}}\n' for number in range(500)).encode(), mtime=0)
    for position in range(10, len(data), 37):
        flipped = data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]
        (tmp_path / "rows.gz").write_bytes(flipped)
        with pytest.raises(UserError, match=r"rows\.gz"):
            Source(str(tmp_path / "rows.gz")).rows()


def test_bad_lines_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    rows = Source(str(tmp_path / "rows.jsonl")).rows(skip_bad_lines=True)
    assert [row for _, row in rows] == [{"a": 1}, {"a": 2}]


def test_a_hub_dataset_out_of_reach_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match=r"'hf:a/b:c' \(split train\) cannot be loaded: no route"):
        Source("hf:a/b:c").rows()


def test_a_hub_dataset_is_asked_for_its_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or ROWS)
    assert [row for _, row in Source("hf:a/b:c", split="x+y").rows()] == ROWS
    assert asked == [(("a/b", "c"), {"split": "x+y"})]


def test_the_hash_of_a_source_follows_its_bytes(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    before = data_hash(str(file), "key")
    moved = jsonl(tmp_path / "moved.jsonl", ROWS)
    assert data_hash(str(moved), "key") == before
    jsonl(file, ROWS[:-1])
    assert data_hash(str(file), "key") != before


# Splits

groups_of_rows = st.lists(st.integers(0, 30).map(str), min_size=12, max_size=80).filter(lambda g: len(set(g)) >= 8)


def records(groups: list[str]) -> list[dict[str, Any]]:
    return [{"id": f"{number}-{group}", "group": group} for number, group in enumerate(groups)]


def where(rows: list[dict[str, Any]], split: Split, seed: int = 0) -> dict[str, str]:
    """Group to split."""
    return {row["group"]: name for name, part in split_records(rows, split, seed).items() for row in part}


@given(groups=groups_of_rows, seed=st.integers(0, 9))
def test_a_split_keeps_groups_whole_has_the_sizes_asked_for_and_loses_no_row(groups: list[str], seed: int) -> None:
    rows = records(groups)
    parts = split_records(rows, Split(3, 2, None), seed)
    report = overlap(parts)
    assert report["overlap"] == {"reference/heldout": 0, "reference/test": 0, "heldout/test": 0}
    assert report["groups"] == {"reference": 3, "heldout": 2, "test": len(set(groups)) - 5}
    assert sum(report["rows"].values()) == len(rows)
    assert sorted(row["id"] for part in parts.values() for row in part) == sorted(row["id"] for row in rows)


@given(groups=groups_of_rows, data=st.data())
def test_a_split_does_not_depend_on_the_order_of_rows(groups: list[str], data: st.DataObject) -> None:
    rows = records(groups)
    shuffled = data.draw(st.permutations(rows))
    assert where(rows, Split(3, 2, None)) == where(shuffled, Split(3, 2, None))


@given(groups=groups_of_rows, more=st.lists(st.sampled_from("abcdefgh"), max_size=6))
def test_new_rows_of_known_groups_move_nothing_and_new_groups_move_few(groups: list[str], more: list[str]) -> None:
    rows, split = records(groups), Split(3, 2, None)
    before = where(rows, split)
    assert where([*rows, *records(groups[:5])], split) == before
    after = where([*rows, *records(more)], split)
    order = [SPLITS.index(after[group]) - SPLITS.index(before[group]) for group in before]
    assert min(order) >= 0  # a group is only ever pushed on, towards test
    assert sum(map(bool, order)) <= 2 * len(set(more))  # each new group pushes one over each of two bounds


def test_fixed_sizes_leave_the_rest_out() -> None:
    parts = split_records(records(list("abcdefgh")), Split(2, 2, 1), seed=0)
    assert [len(parts[name]) for name in SPLITS] == [2, 2, 1]


def test_the_seed_moves_groups() -> None:
    rows = records([str(number) for number in range(40)])
    assert where(rows, Split(20, 10, 10), seed=0) != where(rows, Split(20, 10, 10), seed=1)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(None, 2, None), "only one split may be null"),
        (Split(4, 4, None), "leaves 0 of 8 distinct groups for test"),
        (Split(8, 4, 4), "asks for 16 of 8 distinct groups"),
        (Split(3, 0, None), "leaves 0 of 8 distinct groups for heldout"),
        (Split(-1, 2, None), "leaves 0 of 8 distinct groups for reference"),
    ],
)
def test_a_split_that_cannot_be_made_is_an_error(split: Split, message: str) -> None:
    with pytest.raises(UserError, match="prepare.split") as caught:
        split_records(records(list("abcdefgh")), split, seed=0)
    assert message in str(caught.value)


def test_overlap_counts_groups_on_two_sides() -> None:
    a, b = records(["a", "b"]), records(["b", "c"])
    report = overlap({"reference": a, "heldout": b, "test": records(["c", "c"])})
    assert report["overlap"] == {"reference/heldout": 1, "reference/test": 0, "heldout/test": 1}
    assert (report["rows"]["test"], report["groups"]["test"]) == (2, 1)


def test_rows_equal_but_for_their_id_are_kept_once() -> None:
    rows = [{"id": "a", "x": 1, "y": 2}, {"id": "b", "y": 2, "x": 1}, {"id": "c", "x": 1, "y": 3}]
    assert [row["id"] for row in without_repeats(rows)] == ["a", "c"]


def test_an_id_that_comes_again_is_made_distinct_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"id": "7"}, {"id": "7", "x": 1}, {"id": "7#2"}, {"id": "7", "x": 2}]
    assert [row["id"] for row in with_distinct_ids(rows, "data.jsonl")] == ["7", "7#2", "7#2#2", "7#3"]
    assert "data.jsonl: 3 rows have an id that came before; the first: '7' is now '7#2'." in caplog.text


def test_rows_are_named_by_their_line_and_gzip_can_skip_bad_ones(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b'\n{"a": 1}\nbroken\n{"a": 2}\n'))
    with pytest.raises(UserError, match=r"line 3: not JSON.*--skip-bad-lines"):
        Source(str(file)).rows()
    assert Source(str(file)).rows(skip_bad_lines=True) == [(f"{file}, line 2", {"a": 1}), (f"{file}, line 4", {"a": 2})]


def test_one_file_of_a_hub_dataset_is_downloaded_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(repo_id: str, filename: str, *, repo_type: str) -> str:
        asked.append((repo_id, filename, repo_type))
        return str(jsonl(tmp_path / "test2.jsonl", ROWS))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert [row for _, row in Source("hf:owner/name/sub/test2.jsonl").rows()] == ROWS
    assert asked == [("owner/name", "sub/test2.jsonl", "dataset")]


def test_a_hub_file_out_of_reach_is_one_error() -> None:
    with pytest.raises(UserError, match=r"'hf:owner/name/test.jsonl' cannot be loaded: .*Hub.* give the path"):
        Source("hf:owner/name/test.jsonl").rows()


# Values of other types


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_bytes_are_read_as_the_text_that_they_hold_at_any_depth(tmp_path: Path) -> None:
    nested = pyarrow.array([[{"code": "é".encode()}]], pyarrow.list_(pyarrow.struct([("code", pyarrow.binary())])))
    path = parquet(tmp_path / "rows.parquet", text=pyarrow.array(["ü".encode()], pyarrow.binary()), tests=nested)
    assert plain(path) == [{"text": "ü", "tests": [{"code": "é"}]}]


def test_bytes_that_are_no_text_are_refused_by_column_or_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = parquet(tmp_path / "rows.parquet", image=pyarrow.array([b"\xff\xd8", b"ok"], pyarrow.binary()))
    with pytest.raises(UserError, match=r"row 1: column 'image' holds bytes that are not UTF-8 text.*skip-bad-lines"):
        plain(path)
    assert [row for _, row in Source(str(path)).rows(skip_bad_lines=True)] == [{"image": "ok"}]
    assert "left out 1 bad rows" in caplog.text


def test_dates_times_and_decimals_are_text_and_other_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    values: list[Any] = [datetime.date(2024, 2, 1), datetime.time(9, 30), Decimal("1.50"), True, None, 2.5, (1, "a")]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [{"v": value} for value in values])
    shown = [row["v"] for _, row in Source("hf:some/data").rows()]
    assert shown == ["2024-02-01", "09:30:00", "1.50", True, None, 2.5, [1, "a"]]
    assert [getattr(value, "kind", None) for value in shown[:4]] == ["date", "time", "Decimal", None]
    values[:] = [{1, 2}]
    with pytest.raises(UserError, match="row 1: column 'v' holds a set"):
        Source("hf:some/data").rows()


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a": ', "}")])
def test_a_value_that_nests_without_end_is_refused_by_column_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, opened: str, closed: str
) -> None:
    nested = {number: f'{{"note": {opened * number}1{closed * number}}}\n' for number in (100, 101, 900)}
    path = tmp_path / "rows.jsonl"
    for number in (101, 900):
        path.write_text(nested[100] + nested[number])
        with pytest.raises(UserError, match=r"rows\.jsonl, line 2: column 'note' is nested more than 100 levels deep"):
            Source(str(path)).rows()
        assert len(Source(str(path)).rows(skip_bad_lines=True)) == 1
    assert "left out 1 bad rows" in caplog.text


def test_a_row_without_a_mapped_column_can_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"a": 1}, {"b": 2}])
    source = Source(str(path), fields={"x": "b"})
    assert [row for _, row in source.rows(skip_bad_lines=True)] == [{"b": 2, "x": 2}]
    assert "line 1: no column 'b'" in caplog.text


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UserError, match=rf"limit {limit} must be 1 or more, or null"):
        Source("rows.jsonl", limit=limit)
