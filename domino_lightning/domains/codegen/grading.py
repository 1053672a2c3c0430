"""Grading completions of code-generation problems: each test in fresh processes of the sandbox."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from domino_lightning.domains.base import Verdict
from domino_lightning.domains.python.extraction import find_program
from domino_lightning.domains.python.source import MAX_CHARACTERS
from domino_lightning.execution.unit_test import PARENT, RULES, SHARED, Rules, run_test
from domino_lightning.utils.jsonl import Record

Result = TypeVar("Result")
_BLOCK = re.compile(r"^```(?:python|py|python3)?[ \t]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)


def grade_completions(
    records: Iterable[Record],
    completions: Iterable[Sequence[str]],
    workers: int,
    rules: Rules = RULES,
    grade: Callable[..., Verdict] | None = None,
) -> Iterator[list[Verdict]]:
    """Verdicts of every completion, record by record; `workers` programs at a time, a few records ahead.

    Args:
        records: problems, read as results are taken.
        completions: of each record.
        workers: programs at a time.
        rules: how they are graded.
        grade: instead of `grade_completion`, with its arguments.

    Raises:
        UserError: the host has no sandbox, and none was waived by name.
        StageFailed: the sandbox itself fails.
    """
    judge = grade or grade_completion

    def job(record: Record, text: str) -> Callable[[threading.Event], Verdict]:
        return lambda stop: judge(record, text, stop, rules)

    pairs = zip(records, completions, strict=True)
    return run_ahead(([job(record, text) for text in texts] for record, texts in pairs), workers)


def run_ahead(jobs: Iterable[Sequence[Callable[[threading.Event], Result]]], workers: int) -> Iterator[list[Result]]:
    """What every list of jobs comes to, in order; `workers` at a time, a few lists ahead.

    Args:
        jobs: each is called with an event that is set where its result is no longer wanted.
        workers: jobs at a time.
    """
    stop = threading.Event()
    pending: deque[list[Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="grade")
    try:
        for each in jobs:
            pending.append([pool.submit(job, stop) for job in each])
            if len(pending) > 2 * workers:
                yield [future.result() for future in pending.popleft()]
        while pending:
            yield [future.result() for future in pending.popleft()]
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def grade_completion(
    record: Mapping[str, Any], completion: str, stop: threading.Event | None = None, rules: Rules = RULES
) -> Verdict:
    """Run the program in a completion on all tests of its problem, up to the first that it does not pass."""
    tier = rules.resolve_tier()
    tests = record.get("tests") or []
    if not tests:
        return Verdict(False, "error", "the problem has no tests", tier=tier)
    if not completion.strip():
        return Verdict(False, "failed", "the completion is empty", tier=tier)
    program = _program(completion, record)
    if program is None:
        return Verdict(False, "error", "no Python program in the completion", tier=tier)
    wall_s, trust = 0.0, PARENT
    for number, test in enumerate(tests, start=1):
        outcome = run_test(program, record.get("entry_point"), test, rules, stop)
        wall_s += outcome.wall_s
        trust = SHARED if SHARED in (trust, outcome.trust) else PARENT
        if outcome.status != "passed":
            detail = f"test {number} of {len(tests)}: {outcome.detail}"
            return Verdict(False, outcome.status, detail, wall_s, tier, trust)
    return Verdict(True, "passed", "", wall_s, tier, trust)


def _program(completion: str, record: Mapping[str, Any]) -> str | None:
    if len(completion) <= MAX_CHARACTERS:
        return find_program(completion, record.get("starter_code") or "", record.get("entry_point"))
    blocks = _BLOCK.findall(completion)  # too long to be parsed here: only the sandbox reads it
    return str(blocks[-1]) if blocks else completion
