"""Problems of the domains that come with the project, told apart by their rows: what `domino grade` reads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Domain, Verdict
from domino_lightning.domains.codeexec import CodeExec
from domino_lightning.domains.codegen.blank import empty_tests
from domino_lightning.domains.codegen.domain import CodeGen
from domino_lightning.domains.codegen.grading import grade_completion, grade_completions
from domino_lightning.domains.fields import is_given
from domino_lightning.errors import UserError
from domino_lightning.execution.unit_test import Rules
from domino_lightning.utils.jsonl import Record

DOMAINS: dict[str, type[Domain]] = {domain.kind: domain for domain in (CodeGen, CodeExec)}


def read_problem(row: Mapping[str, Any], where: str) -> Record:
    """A row in any format of either domain as a record that can be graded; tests need no statement.

    Raises:
        UserError: a row of no known format, one without tests, or a code-execution one without its output.
    """
    domain: Domain = CodeGen()
    if "code" in row and "input" in row and "tests" not in row:
        domain = CodeExec()
    elif is_given(row, "tests") and not is_given(row, "prompt"):
        row = {**row, "prompt": "(no statement)"}
    record = domain.record(row, where)
    if domain.kind == CodeExec.kind and not domain.has_answer(record):
        raise UserError(f"{where}: field 'output' must be a string; it is {record.get('output')!r}.")
    if (problem := domain.problem(record)) is not None:
        raise UserError(f"{where}: row '{record['id']}' {problem}.")
    return record


def empty_problems(records: Sequence[Record], workers: int, rules: Rules) -> dict[str, str]:
    """What is wrong with problems whose tests no program could fail, by id; their tests are run to find out.

    Raises:
        UserError: the host has no sandbox, and none was waived by name.
        StageFailed: the sandbox itself fails.
    """
    tested = [record for record in records if record["kind"] == CodeGen.kind]
    found = zip(tested, empty_tests(tested, workers, rules), strict=True)
    return {record["id"]: problem for record, problem in found if problem is not None}


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
