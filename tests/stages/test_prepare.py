"""prepare: raw rows in, three splits and their overlap out; a bad row stops it or is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.data.source import Source, Split
from domino_lightning.domains import CodeExec, CodeGen
from domino_lightning.errors import UserError
from domino_lightning.evaluation import execution
from domino_lightning.records import read_json, read_jsonl
from domino_lightning.stages import Work
from domino_lightning.stages.prepare import Prepare, PrepareRuntime

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
        ({"code": "def f(a):\n    return a", "input": "1", "output": "2"}, "output says 2, execution says 1"),
        (
            {"id": "hangs", "code": "def f(a):\n    return a.b", "input": "1"},
            "row 'hangs' does not run (error",
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
