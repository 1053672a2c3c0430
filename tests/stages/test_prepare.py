"""prepare: raw rows in, three splits and their overlap out; a bad row stops it or is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from domino_lightning.data.mixing import Noise, Subset
from domino_lightning.data.source import Source, Split
from domino_lightning.data.windows import Windows
from domino_lightning.domains import CodeExec, CodeGen, Message
from domino_lightning.errors import UserError
from domino_lightning.execution import calls as execution
from domino_lightning.stages.prepare import Prepare, PrepareRuntime
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl
from tests.conftest import write_rows

NAMES = ("reference", "heldout", "test")


def rows(functions: int = 6) -> list[dict[str, Any]]:
    """Two calls of each function, without outputs."""
    return [
        {"id": f"{k}-{n}", "code": f"def f(a):\n    return a + {k}", "input": str(n)}
        for k in range(functions)
        for n in range(2)
    ]


def prepare(folder: Path, data: list[Any], skip: bool = False, **settings: Any) -> Prepare:
    folder.mkdir(exist_ok=True)
    path = folder / "data.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in data))
    split = settings.pop("split", Split(2, 1, None))
    return Prepare(CodeExec(), Source(str(path)), split, runtime=PrepareRuntime(2, skip), **settings)


def run(stage: Prepare, folder: Path) -> dict[str, list[dict[str, Any]]]:
    folder.mkdir()
    stage.run(Work(folder, {}, "fingerprint", {}))
    return {name: read_jsonl(folder / f"{name}.jsonl") for name in NAMES}


def test_splits_hold_executed_records_without_overlap(tmp_path: Path) -> None:
    splits = run(prepare(tmp_path, rows()), tmp_path / "out")
    assert {name: len(part) for name, part in splits.items()} == {"reference": 4, "heldout": 2, "test": 6}
    for record in (record for part in splits.values() for record in part):
        added = int(record["code"].rpartition("+ ")[2])
        assert record["output"] == str(int(record["input"]) + added)
        assert record["text"] == f"{record['code']}\n\nf({record['input']})"
    report = read_json(tmp_path / "out" / "splits.json")
    assert report["rows"] == {"reference": 4, "heldout": 2, "test": 6}
    assert report["groups"] == {"reference": 2, "heldout": 1, "test": 3}
    assert set(report["overlap"].values()) == {0}


def test_rows_that_no_split_has_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    again = [{**row, "id": f"again-{row['id']}"} for row in rows()[:3]]
    splits = run(prepare(tmp_path, [*rows(), *again], split=Split(2, 1, 1)), tmp_path / "out")
    assert sum(map(len, splits.values())) == 8
    report = read_json(tmp_path / "out" / "splits.json")
    assert (report["repeated"], report["unused"]) == (3, 4)
    assert "3 rows left out: they are as one before them but for their id." in caplog.text
    assert "4 rows left out: they are of groups beyond those that prepare.split asks for" in caplog.text


def test_the_order_of_rows_moves_none_to_another_split(tmp_path: Path) -> None:
    forth = run(prepare(tmp_path / "a", rows()), tmp_path / "forth")
    back = run(prepare(tmp_path / "b", rows()[::-1]), tmp_path / "back")
    for name in NAMES:
        assert {row["id"] for row in forth[name]} == {row["id"] for row in back[name]}


def test_renamed_copies_of_a_function_stay_on_one_side(tmp_path: Path) -> None:
    copies = [{**row, "id": f"copy-{row['id']}", "code": row["code"].replace("a", "bc")} for row in rows()]
    splits = run(prepare(tmp_path, [*rows(), *copies]), tmp_path / "out")
    where = {row["id"]: name for name, part in splits.items() for row in part}
    assert all(where[name] == where[f"copy-{name}"] for name in where if not name.startswith("copy"))


def test_equal_rows_are_kept_once(tmp_path: Path) -> None:
    splits = run(prepare(tmp_path, [*rows(), *({**row, "id": "again"} for row in rows())]), tmp_path / "out")
    assert sum(map(len, splits.values())) == 12


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("not json", "data.jsonl, line 13: not JSON"),
        ({"code": "def f(", "input": "1"}, "data.jsonl, line 13: field 'code' is not Python"),
        (
            {"code": "def f(a):\n    return a", "input": "1", "output": "2"},
            "line 13: row '13' output says 2, execution says 1",
        ),
        (
            {"id": "hangs", "code": "def f(a):\n    return a.b", "input": "1"},
            "data.jsonl, line 13: row 'hangs' does not run (error",
        ),
    ],
)
def test_a_bad_row_stops_it_unless_told_to_leave_it_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: Any, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(prepare(tmp_path, [*rows(), bad]), tmp_path / "strict")
    assert message in str(caught.value)
    splits = run(prepare(tmp_path, [*rows(), bad], skip=True), tmp_path / "lenient")
    assert sum(map(len, splits.values())) == 12
    assert "left out 1 bad" in caplog.text
    assert message in caplog.text


def test_without_executing_nothing_runs_and_the_splits_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = prepare(tmp_path, rows())
    with monkeypatch.context() as patched:
        patched.setattr(execution, "run_calls", None)
        dry = stage.splits(execute=False)
        with pytest.raises(TypeError):
            run(stage, tmp_path / "calls it")
    wet = run(stage, tmp_path / "out")
    assert {name: [row["id"] for row in dry[name]] for name in NAMES} == {
        name: [row["id"] for row in wet[name]] for name in NAMES
    }


def test_codegen_problems_keep_their_tests_and_solutions(tmp_path: Path) -> None:
    stage = Prepare(CodeGen(), Source(CodeGen.corpus), Split(8, 8, None))
    splits = run(stage, tmp_path / "out")
    assert sum(map(len, splits.values())) == 28
    assert all(row["tests"] and row["solution"] for part in splits.values() for row in part)


@pytest.mark.parametrize("source", [None, {}, {"path": ""}, {"path": 3}])
def test_a_source_without_a_path_is_refused(source: Any) -> None:
    with pytest.raises(UserError, match=r"prepare\.source\.path"):
        Prepare.contents({"source": source})


def test_the_fingerprint_rests_on_the_datas_bytes(tmp_path: Path) -> None:
    prepare(tmp_path, rows())
    before = Prepare.contents({"source": {"path": str(tmp_path / "data.jsonl")}})
    prepare(tmp_path, rows(5))
    after = Prepare.contents({"source": {"path": str(tmp_path / "data.jsonl")}})
    assert list(before) == list(after) == ["source.path"]
    assert before != after


def groups(split: list[dict[str, Any]]) -> set[str]:
    return {row["group"] for row in split}


def test_smaller_subsets_lie_inside_larger_ones_and_move_nothing_else(tmp_path: Path) -> None:
    def splits(share: float, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
        stage = prepare(tmp_path, rows(20), split=Split(12, 3, None), subset=Subset(share, seed))
        return stage.splits(execute=False)

    found = {share: splits(share) for share in (0.25, 0.5, 1.0)}
    assert [len(groups(found[share]["reference"])) for share in found] == [3, 6, 12]
    assert groups(found[0.25]["reference"]) < groups(found[0.5]["reference"]) < groups(found[1.0]["reference"])
    for part in found.values():
        assert (part["heldout"], part["test"]) == (found[1.0]["heldout"], found[1.0]["test"])
    assert groups(splits(0.5, seed=1)["reference"]) != groups(found[0.5]["reference"])
    assert len(groups(splits(0.001)["reference"])) == 1


def test_foreign_rows_replace_a_nested_share_of_the_references(tmp_path: Path) -> None:
    foreign = [{"id": f"0-{n}", "code": f"def g(b):\n    return [b] * {n}", "input": "1"} for n in range(30)]
    source = Source(str(write_rows(tmp_path / "foreign.jsonl", [*rows(3), *foreign])))

    def splits(share: float) -> dict[str, list[dict[str, Any]]]:
        settings: dict[str, Any] = {"split": Split(12, 3, None), "noise": Noise(share, source)}
        return prepare(tmp_path, rows(20), **settings).splits(execute=False)

    clean, some, more = splits(0.0), splits(0.25), splits(0.5)
    strange = {share: groups([row for row in part["reference"] if row.get("foreign")]) for share, part in
               ((0.0, clean), (0.25, some), (0.5, more))}  # fmt: skip
    assert [len(found) for found in strange.values()] == [0, 3, 6]
    assert strange[0.25] < strange[0.5]
    assert groups(more["reference"]) - strange[0.5] < groups(some["reference"]) - strange[0.25]
    for part in (clean, some, more):
        assert len(groups(part["reference"])) == 12
        assert (part["heldout"], part["test"]) == (clean["heldout"], clean["test"])
        assert len({row["id"] for split in part.values() for row in split}) == sum(map(len, part.values()))
    assert not strange[0.5] & (groups(clean["reference"]) | groups(clean["heldout"]) | groups(clean["test"]))


def test_foreign_rows_are_counted_in_the_splits(tmp_path: Path) -> None:
    source = Source(CodeExec.corpus, limit=8)
    stage = prepare(tmp_path, rows(6), split=Split(2, 1, None), noise=Noise(0.5, source))
    run(stage, tmp_path / "out")
    report = read_json(tmp_path / "out" / "splits.json")
    assert (report["groups"]["reference"], report["foreign"], set(report["overlap"].values())) == (2, 4, {0})


def test_too_few_foreign_rows_are_told(tmp_path: Path) -> None:
    stage = prepare(tmp_path, rows(6), split=Split(4, 1, None), noise=Noise(0.5, Source(CodeExec.corpus, limit=4)))
    with pytest.raises(UserError, match="replaces 2 of 4 reference groups, but the source has 1"):
        stage.splits(execute=False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Subset(0.0), r"prepare\.subset: share"),
        (lambda: Subset(1.5), r"prepare\.subset: share"),
        (lambda: Noise(1.0), r"prepare\.noise: share"),
        (lambda: Noise(0.5), r"prepare\.noise: share 0.5 needs a source"),
    ],
)
def test_shares_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_any_format_is_read_by_a_field_map(tmp_path: Path, kind: str) -> None:
    data = [{"task": {"src": row["code"], "n": 1}, "args": row["input"], "name": row["id"]} for row in rows()]
    path = tmp_path / f"data.{kind}"
    if kind == "jsonl":
        write_rows(path, data)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(data), path)
    fields = {"code": "task.src", "input": "args", "id": "name"}
    stage = Prepare(CodeExec(), Source(str(path), fields=fields), Split(2, 1, None))
    splits = run(stage, tmp_path / "out")
    assert {row["id"] for part in splits.values() for row in part} == {row["id"] for row in rows()}
    assert splits["reference"][0]["args"] == splits["reference"][0]["input"]


def test_a_field_map_that_misses_names_row_column_and_columns(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.jsonl", [{"a": {"b": "x"}, "input": "1"}])
    with pytest.raises(UserError) as caught:
        Source(str(path), fields={"code": "a.c"}).rows()
    message = "data.jsonl, line 1: no column 'a.c', which `fields` names for 'code'; there are 'a', 'input'."
    assert message in str(caught.value)


def test_the_fingerprint_rests_on_the_foreign_datas_bytes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "foreign.jsonl", rows())
    section = {"source": {"path": CodeExec.corpus}, "noise": {"share": 0.1, "source": {"path": str(path)}}}
    before = Prepare.contents(section)
    write_rows(path, rows(3))
    assert Prepare.contents(section)["source.path"] == before["source.path"]
    assert Prepare.contents(section)["noise.source.path"] != before["noise.source.path"]


def test_half_a_character_in_a_column_that_nothing_reads_is_kept(tmp_path: Path) -> None:
    splits = run(prepare(tmp_path, [{**row, "note": "caf\ud83d"} for row in rows()]), tmp_path / "out")
    assert {row["note"] for part in splits.values() for row in part} == {"caf\ud83d"}


@pytest.mark.parametrize("execute", [False, True])
def test_what_reading_alone_can_tell_is_told_with_its_line_whether_or_not_programs_run(
    tmp_path: Path, execute: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        {"code": "def f(a):\n    return '\ud83d'", "input": "1"},  # no tokenizer would take it
        {"code": "def f(a):\n    return a", "input": "1", "output": 1},
        {"code": "def f(a):\n    return a", "input": "1", "output": "one"},
    ]
    for number, row in enumerate(bad):
        with pytest.raises(UserError, match=r"data\.jsonl, line 13: .*--skip-bad-lines"):
            prepare(tmp_path / str(number), [*rows(), row]).splits(execute)
    splits = prepare(tmp_path, [*rows(), *bad], skip=True).splits(execute)
    assert sum(len(part) for part in splits.values()) == 12
    assert "left out 3 bad rows" in caplog.text


def test_problems_without_tests_are_told_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"id": 0, "prompt": "Do it."}) + "\n")
    with pytest.raises(UserError, match=r"data\.jsonl, line 1: row '0' has no tests"):
        Prepare(CodeGen(), Source(str(path)), Split(1, 1, 1)).splits(execute=False)


@pytest.mark.parametrize("change", [{"group": ["x"]}, {"text": None}])
def test_a_domain_that_completes_records_to_what_is_none_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    class Spoils(CodeExec):
        def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Record, str | None]]:
            yield from (({**record, **change}, None) for record in records)

    stage = prepare(tmp_path, rows(3))
    stage.domain = Spoils()
    with pytest.raises(UserError, match=r"Spoils breaks .*complete must .*with a text for each of 'group', 'id'"):
        stage.run(Work(tmp_path, {}, "fingerprint", {}))


def test_a_parser_that_stumbles_over_a_references_text_is_told_before_anything_runs(tmp_path: Path) -> None:
    class Stumbles(CodeExec):
        def parse(self, text: str) -> Record:
            return {"code": text.split("nowhere")[1]}

    stage = prepare(tmp_path, rows(6))
    stage.domain = Stumbles()
    with pytest.raises(
        UserError, match="Stumbles breaks .* parse must return a record or raise Unparsable, .* raised IndexError"
    ):
        stage.splits(execute=False)


def test_a_domain_of_which_one_record_has_two_keys_is_told_before_anything_runs(tmp_path: Path) -> None:
    class Counts(CodeExec):
        asked = 0

        def canonical(self, record: Mapping[str, Any]) -> str:
            self.asked += 1
            return f"key {self.asked}"

    class Tires(CodeExec):
        def prompt(self, record: Mapping[str, Any]) -> list[Message]:
            asked.append(record["id"])
            return super().prompt(record if asked.count(record["id"]) < 3 else {})

    asked: list[str] = []
    stage = prepare(tmp_path, rows(6))
    stage.domain = Counts()
    with pytest.raises(UserError, match=r"Counts breaks .*canonical must give one result for one record, .* then 'key"):
        stage.splits(execute=False)
    stage.domain = Tires()
    with pytest.raises(UserError, match=r"data\.jsonl: row '.*': Tires fails on it when asked again \(KeyError"):
        stage.splits(execute=False)


@pytest.mark.parametrize(("off", "gave"), [(-1, "gave 5"), (1, "gave more")])
def test_a_domain_that_completes_too_few_or_too_many_records_is_refused(tmp_path: Path, off: int, gave: str) -> None:
    class Miscounts(CodeExec):
        def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Record, str | None]]:
            some = records[:off] if off < 0 else [*records, records[0]]
            yield from ((record, None) for record in some)

    stage = prepare(tmp_path, rows(3))
    stage.domain = Miscounts()
    with pytest.raises(UserError, match=f"complete must return one result for each of the 6 it was given, and {gave}"):
        stage.run(Work(tmp_path, {}, "fingerprint", {}))


def test_a_row_without_a_date_for_the_windows_is_a_bad_row_like_any_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = [{**row, "day": "2031-05-01" if number < 6 else "2031-07-09"} for number, row in enumerate(rows())]
    data[4]["day"] = "in spring"
    windows = Windows(("2031-05-01", "2031-06-01"), ("2031-06-01", "2031-08-01"), "day")
    settings = {"split": Split(1, 1, None, windows)}
    with pytest.raises(
        UserError, match=r"data\.jsonl, line 5: row '2-0' has no ISO date in 'day'; it is 'in spring'.*skip"
    ):
        prepare(tmp_path, data, **settings).splits()
    splits = prepare(tmp_path, data, skip=True, **settings).splits()
    assert "2-0" not in {row["id"] for part in splits.values() for row in part}
    assert "left out 1 bad rows; the first: " in caplog.text
