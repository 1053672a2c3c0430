"""curate: shards in, accepted and rejected rows and a funnel that adds up out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.curation import CopiedFromReference, ExactDuplicate, Finished, Parses
from domino_lightning.domains import CodeExec
from domino_lightning.stages.curate import Curate
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import read_json, read_jsonl, write_jsonl

DOMAIN = CodeExec()
NEW = "def f(a):\n    return a + 1\n\nf(2)"
COPY = "def f(number):\n  return number\n\nf(3)"


def raw(number: int, text: str, finished: bool = True) -> dict[str, Any]:
    return {
        "id": f"s-{number}",
        "k": number,
        "text": text,
        "finished": finished,
        "num_tokens": 5,
        "screen": "ok",
    }


def test_rows_of_all_shards_are_filtered_in_order_and_counted(tmp_path: Path) -> None:
    inputs = {"prepare": tmp_path / "prepare", "synthesize": tmp_path / "synthesize"}
    out = tmp_path / "out"
    for folder in (*inputs.values(), out):
        folder.mkdir()
    reference = DOMAIN.read({"id": "ref", "code": "def f(x):\n    return x", "input": "1"}, "row")
    write_jsonl(inputs["prepare"] / "reference.jsonl", [reference])
    for name in ("heldout", "test"):
        write_jsonl(inputs["prepare"] / f"{name}.jsonl", [])
    write_jsonl(inputs["synthesize"] / "raw-00000.jsonl", [raw(0, NEW), raw(1, "def f("), raw(2, NEW, False)])
    write_jsonl(inputs["synthesize"] / "raw-00001.jsonl", [raw(3, NEW + "\n"), raw(4, COPY)])

    stage = Curate(DOMAIN, [Finished(), Parses(), ExactDuplicate(), CopiedFromReference()])
    stage.run(Work(out, inputs, "fingerprint", {}))

    accepted, rejected = read_jsonl(out / "accepted.jsonl"), read_jsonl(out / "rejected.jsonl")
    assert accepted == [{"id": "s-0", **DOMAIN.parse(NEW)}]
    assert [(row["id"], row["reason"], row["detail"]) for row in rejected] == [
        ("s-1", "parse", "syntax: line 1: '(' was never closed"),
        ("s-2", "unfinished", "no EOS within 5 tokens"),
        ("s-3", "duplicate", "same as s-0"),
        ("s-4", "copied", "same as reference ref"),
    ]
    counts = [("unfinished", 5, 1, 4), ("parse", 4, 1, 3), ("duplicate", 3, 1, 2), ("copied", 2, 1, 1)]
    steps: list[dict[str, Any]] = [{"filter": f, "in": n, "rejected": r, "out": o} for f, n, r, o in counts]
    steps[1]["codes"] = {"syntax": 1}
    assert read_json(out / "funnel.json") == {"candidates": 5, "steps": steps, "accepted": 1}
