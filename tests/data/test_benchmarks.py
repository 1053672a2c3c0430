"""Every benchmark by hub id: rows as the hub has them, through the source, the split and the domain."""

from __future__ import annotations

import base64
import datetime
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec, CodeGen
from domino_lightning.domains.base import Domain

DATE = datetime.datetime(2023, 8, 21)
LIVECODEBENCH = {
    "question_title": "Add",
    "question_content": "Add two numbers.",
    "platform": "leetcode",
    "question_id": "1",
    "contest_id": "weekly-1",
    "contest_date": DATE,
    "difficulty": "easy",
}
PUBLIC = json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}])
PRIVATE = json.dumps([{"input": "4\n5", "output": "9", "testtype": "functional"}])
ROWS: dict[str, tuple[str, str, Domain, dict[str, Any]]] = {
    "livecodebench generation": (
        "hf:livecodebench/code_generation",
        "test",
        CodeGen(),
        {
            **LIVECODEBENCH,
            "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
            "public_test_cases": PUBLIC,
            "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(PRIVATE))).decode(),
            "metadata": '{"func_name": "add"}',
        },
    ),
    "livecodebench execution": (
        "hf:livecodebench/execution-v2",
        "test",
        CodeExec(),
        {
            **{name: LIVECODEBENCH[name] for name in ("question_id", "contest_id", "contest_date", "difficulty")},
            "id": "sample_0",
            "function_name": "add",
            "code": "def add(a: int, b: List[int]) -> int:\n    return a + b[0]",
            "input": "add(a = 4, b = [5])",
            "output": "9",
            "numsteps": 3,
            "problem_id": 1,
        },
    ),
    "humaneval": (
        "hf:openai/openai_humaneval",
        "test",
        CodeGen(),
        {
            "task_id": "HumanEval/0",
            "prompt": 'def add(a, b):\n    """ Add a and b. """\n',
            "canonical_solution": "    return a + b\n",
            "test": "def check(candidate):\n    assert candidate(4, 5) == 9\n",
            "entry_point": "add",
        },
    ),
    "mbpp": (
        "hf:google-research-datasets/mbpp",
        "test",
        CodeGen(),
        {
            "task_id": 11,
            "text": "Write a function to add two numbers.",
            "code": "def add(a, b):\r\n  return a + b",
            "test_list": ["assert add(4, 5) == 9"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
    ),
    "mbpp sanitized": (
        "hf:google-research-datasets/mbpp:sanitized",
        "test",
        CodeGen(),
        {
            "source_file": "Benchmark Questions Verification V2.ipynb",
            "task_id": 2,
            "prompt": "Write a function to add two numbers.",
            "code": "def add(a, b):\n  return math.floor(a + b)",
            "test_imports": ["import math"],
            "test_list": ["assert add(4, 5) == 9"],
        },
    ),
    "cruxeval": (
        "hf:cruxeval-org/cruxeval",
        "test",
        CodeExec(),
        {"code": "def f(a, b):\n    return a + b", "input": "4, 5", "output": "9", "id": "sample_0"},
    ),
}
RIGHT = {
    "livecodebench generation": "class Solution:\n    def add(self, a, b):\n        return a + b",
    "livecodebench execution": "[ANSWER]9[/ANSWER]",
    "cruxeval": "assert f(4, 5) == 9",
}
WRONG = {"livecodebench execution": "[ANSWER]4 + 5[/ANSWER]", "cruxeval": "f(4, 5)"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_from_the_hub_becomes_a_record_that_grades(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    path, split, domain, row = ROWS[name]
    asked: list[Any] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or [row])
    ((where, raw),) = Source(path, split).rows()
    assert asked[0][1] == {"split": split}
    record = domain.read(raw, where)
    json.dumps(record)  # what prepare writes
    ((completed, wrong),) = domain.complete([record], workers=1)
    assert wrong is None
    right = RIGHT.get(name, f"```python\n{record.get('solution')}\n```")
    (verdicts,) = domain.grade([completed], [[right, WRONG.get(name, "def add(a, b): return 0"), ""]], workers=2)
    assert [verdict.passed for verdict in verdicts] == [True, False, False]
    if name.startswith("livecodebench"):
        assert record["contest_date"].startswith("2023-08-21")
        assert record["difficulty"] == "easy"


@pytest.mark.parametrize(
    ("file", "rows", "domain"),
    [
        ("lcb_public_dev.jsonl", 200, CodeGen()),
        ("leetcode_functional_dev.jsonl", 120, CodeGen()),
        ("humaneval.jsonl.gz", 164, CodeGen()),
        ("mbpp_sanitized_dev.jsonl", 214, CodeGen()),
        ("lcb_execution_dev.jsonl", 443, CodeExec()),
        ("cruxeval_dev.jsonl", 400, CodeExec()),
    ],
)
def test_a_local_file_is_read_whole_with_one_id_a_row(shared_data: Path, file: str, rows: int, domain: Domain) -> None:
    records = [domain.read(row, where) for where, row in Source(str(shared_data / file)).rows()]
    assert len(records) == len({record["id"] for record in records}) == rows
    assert all(record["kind"] == domain.kind and record["text"].strip() for record in records)


def test_programs_for_one_livecodebench_problem_share_a_group(shared_data: Path) -> None:
    source = Source(str(shared_data / "lcb_execution_dev.jsonl"))
    records = [CodeExec().read(row, where) for where, row in source.rows()]
    assert len({record["group"] for record in records}) == len({record["question_id"] for record in records}) < 443
