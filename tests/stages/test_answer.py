"""answer: records answered by execution, chat pairs as JSON Lines, Parquet and a data set that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import CodeExec, CodeGen, Domain
from domino_lightning.records import Record, read_json, read_jsonl, write_json, write_jsonl
from domino_lightning.stages import Work
from domino_lightning.stages.answer import Answer

FUNNEL = {"candidates": 9, "steps": [{"filter": "parse", "in": 9, "rejected": 5, "out": 4}], "accepted": 4}


def record(number: int, body: str, **fields: Any) -> Record:
    parsed = CodeExec().parse(f"def f(a):\n    {body}\n\nf({number})")
    return {"id": f"s-{number}", **parsed, **fields}


RECORDS = [
    record(0, "return a + 1", output="'a lie'"),
    record(1, "return a / 0"),
    record(2, "return {a: 'é'}"),
    record(3, "return lambda: a"),
]


def run(folder: Path, domain: Domain, records: list[Record]) -> Path:
    curate, out = folder / "curate-fp", folder / "out"
    curate.mkdir()
    out.mkdir()
    write_jsonl(curate / "accepted.jsonl", records)
    write_json(curate / "funnel.json", FUNNEL)
    Answer(domain).run(Work(out, {"curate": curate}, "fingerprint", {}))
    return out


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("answer"), CodeExec(), RECORDS)


def test_the_answer_is_what_execution_gives_even_where_the_record_lies(answered: Path) -> None:
    outputs = {row["id"]: row["output"] for row in read_jsonl(answered / "answered.jsonl")}
    assert outputs == {"s-0": "1", "s-2": "{2: 'é'}"}
    assert "lie" not in (answered / "pairs.jsonl").read_text()


def test_every_record_is_answered_or_rejected_with_a_reason(answered: Path) -> None:
    rejected = read_jsonl(answered / "rejected.jsonl")
    assert [(row["id"], row["reason"]) for row in rejected] == [("s-1", "error"), ("s-3", "error")]
    assert "ZeroDivisionError" in rejected[0]["detail"]
    assert read_json(answered / "answers.json") == {"accepted": 4, "answered": 2, "rejected": {"error": 2}}


def test_pairs_ask_the_domains_question_and_say_where_they_come_from(answered: Path) -> None:
    first, second = read_jsonl(answered / "pairs.jsonl")
    assert first["messages"] == CodeExec().pair({**RECORDS[0], "output": "1"})
    assert (first["source_id"], second["source_id"]) == ("s-0", "s-2")
    assert first["provenance"] == {"curate": "curate-fp", "answered_by": "codeexec"}


def test_the_directory_loads_as_a_data_set(answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(answered), cache_dir=str(tmp_path), split="train")
    assert [dict(row) for row in rows] == read_jsonl(answered / "pairs.jsonl")


def test_the_card_tells_counts_and_funnel(answered: Path) -> None:
    card = (answered / "README.md").read_text(encoding="utf-8")
    assert "2 chat pairs" in card
    assert "| parse | 9 | 5 | 4 |\n| answer | 4 | 2 | 2 |" in card


def test_codegen_records_are_rejected_and_the_stage_still_writes_everything(tmp_path: Path) -> None:
    text = "Double it.\n\nTests:\nassert f(1) == 2"
    out = run(tmp_path, CodeGen(), [{"id": "s-0", **CodeGen().parse(text)}])
    assert read_json(out / "answers.json") == {"accepted": 1, "answered": 0, "rejected": {"no_answerer": 1}}
    assert (out / "pairs.parquet").is_file()
    assert "not answered in this version" in read_jsonl(out / "rejected.jsonl")[0]["detail"]
