"""Problems of the domains that come with the project, told apart by their rows: what `domino grade` reads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Domain, Verdict
from domino_lightning.domains.codeexec import CodeExec
from domino_lightning.domains.codegen.domain import CodeGen
from domino_lightning.domains.codegen.grading import grade_completion, grade_completions
from domino_lightning.errors import UserError
from domino_lightning.execution.unit_test import Rules
from domino_lightning.utils.jsonl import Record

DOMAINS: dict[str, type[Domain]] = {domain.kind: domain for domain in (CodeGen, CodeExec)}


def read_problem(row: Mapping[str, Any], where: str) -> Record:
    """A row in any format of either domain as a record that can be graded; tests need no statement.

    Raises:
        UserError: a row of no known format, or a code-execution one without its output.
    """
    if "code" in row and "input" in row and "tests" not in row:
        record = CodeExec().record(row, where)
        if not CodeExec().has_answer(record):
            raise UserError(f"{where}: field 'output' must be a string; it is {record.get('output')!r}.")
        return record
    stated = row if row.get("tests") is None or row.get("prompt") else {**row, "prompt": "(no statement)"}
    return CodeGen().record(stated, where)


def grade_problems(
    records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int, rules: Rules
) -> Iterator[list[Verdict]]:
    """Verdicts of every completion, record by record; `workers` programs at a time.

    Raises:
        UserError: the host has no sandbox, and none was waived by name.
        StageFailed: the sandbox itself fails.
    """
    return grade_completions(records, completions, workers, rules, _grade)


def _grade(record: Record, text: str, stop: threading.Event | None, rules: Rules) -> Verdict:
    if record["kind"] == CodeExec.kind:
        ((verdict,),) = CodeExec().grade([record], [[text]], 1)
        return verdict
    return grade_completion(record, text, stop, rules)
