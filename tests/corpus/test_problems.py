"""The embedded problems hold what their README promises: whole, distinct, and solved by their solutions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeGen

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return [row for _, row in Source(CodeGen.corpus).rows()]


@pytest.fixture(scope="module")
def records(rows: Rows) -> Rows:
    return [CodeGen().read(row, f"problems.jsonl, row {number}") for number, row in enumerate(rows, start=1)]


def test_rows_have_exactly_the_documented_fields(rows: Rows) -> None:
    fields = ["id", "kind", "prompt", "starter_code", "entry_point", "tests", "solution"]
    assert [row["id"] for row in rows if list(row) != fields or row["kind"] != "codegen"] == []


def test_kinds_of_tests_are_as_many_as_the_readme_says(rows: Rows) -> None:
    kinds = Counter(row["tests"][0]["type"] for row in rows)
    assert kinds == {"functional": 10, "assert": 12, "stdin": 6}


def test_problems_differ(records: Rows) -> None:
    assert len({record["id"] for record in records}) == len(records)
    assert len({record["group"] for record in records}) == len(records)


def test_every_solution_passes_its_tests(records: Rows) -> None:
    verdicts = CodeGen().grade(records, [[record["solution"]] for record in records], workers=2)
    pairs = zip(records, verdicts, strict=True)
    assert [(record["id"], row[0].detail) for record, row in pairs if not row[0].passed] == []


def test_no_solution_passes_the_tests_of_the_next_problem(records: Rows) -> None:
    others = [*records[1:], records[0]]
    verdicts = CodeGen().grade(others, [[record["solution"]] for record in records], workers=2)
    assert [other["id"] for other, row in zip(others, verdicts, strict=True) if row[0].passed] == []


def test_every_problem_reads_back_from_its_text(records: Rows) -> None:
    for record in records:
        parsed = CodeGen().parse(record["text"])
        for field in ("prompt", "starter_code", "entry_point", "group", "text"):
            assert parsed[field] == record[field], record["id"]
