"""Code generation on the shared sample data, where there is any."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeGen
from domino_lightning.utils.jsonl import read_jsonl

DOMAIN = CodeGen()


@pytest.mark.slow
def test_mbpp_and_humaneval_solutions_pass(shared_data: Path) -> None:
    mbpp = [DOMAIN.read(row, where) for where, row in Source(str(shared_data / "mbpp_sanitized_dev.jsonl")).rows()]
    with gzip.open(shared_data / "humaneval.jsonl.gz", "rt") as file:
        humaneval = [DOMAIN.read(json.loads(line), "humaneval") for line in file]
    assert (len(mbpp), len(humaneval)) == (214, 164)
    solved = {record["id"]: record for record in [*mbpp[:30], *humaneval[:30]]}
    completions = [[f"```python\n{record['solution']}\n```"] for record in solved.values()]
    verdicts = DOMAIN.grade(solved.values(), completions, workers=2)
    assert [name for name, row in zip(solved, verdicts, strict=True) if not row[0].passed] == []
    for record in mbpp:
        parsed = DOMAIN.parse(record["text"])
        assert [parsed[name] for name in ("prompt", "entry_point", "tests")] == [
            record[name] for name in ("prompt", "entry_point", "tests")
        ]


def test_livecodebench_problems_are_read_and_settled_solutions_graded_as_known(shared_data: Path) -> None:
    rows = read_jsonl(shared_data / "lcb_public_dev.jsonl")
    problems = {row["question_id"]: DOMAIN.read(row, "lcb") for row in rows}
    solutions = read_jsonl(shared_data / "lcb_model_solutions_dev.jsonl")
    settled = [row for row in solutions if row["gold"] in {"pass", "fail"} and row["question_id"] in problems]
    chosen = [*settled[:20], *[row for row in settled if row["gold"] == "fail"][:10]]
    graded = DOMAIN.grade([problems[row["question_id"]] for row in chosen], [[row["code"]] for row in chosen], 2)
    assert ["pass" if found[0].passed else "fail" for found in graded] == [row["gold"] for row in chosen]


def test_packed_private_tests_of_livecodebench_are_read(shared_data: Path) -> None:
    for where, row in Source(str(shared_data / "lcb_private_sample.jsonl")).rows():
        assert sum(test.get("hidden", False) for test in DOMAIN.read(row, where)["tests"]) > 1
