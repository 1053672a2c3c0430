"""Running completions of code-generation problems on their tests, each test in a subprocess of its own.

The subprocesses are those of `evaluation/execution.py`: they keep mistakes and ordinary misbehaviour out of
this process, and are no security boundary. Code that means harm needs a sandbox, which comes later.
"""

from __future__ import annotations

import ast
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from domino_lightning.domains.base import Verdict
from domino_lightning.domains.extraction import find_program, insert_before
from domino_lightning.domains.python_source import parse_python
from domino_lightning.evaluation.answers import NotALiteral, literal_equal, parse_literal
from domino_lightning.evaluation.execution import Execution, run_call, run_program
from domino_lightning.records import Record

Run = tuple[str, str, float]  # status, detail, wall_s

# What LeetCode gives a solution, and its starter code's annotations use; builtins last: math has a `pow`.
IMPORTS = "; ".join(
    f"from {name} import *"
    for name in ("typing", "collections", "heapq", "bisect", "itertools", "functools", "math", "builtins")
)
IMPORTS += "; import collections, heapq, bisect, itertools, functools, math, re, string"


def grade_completions(
    records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
) -> Iterator[list[Verdict]]:
    """Verdicts of every completion, record by record; `workers` programs at a time, a few records ahead."""
    stop = threading.Event()
    pending: deque[list[Future[Verdict]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="grade")
    try:
        for record, texts in zip(records, completions, strict=True):
            pending.append([pool.submit(grade_completion, record, text, stop) for text in texts])
            if len(pending) > 2 * workers:
                yield [future.result() for future in pending.popleft()]
        while pending:
            yield [future.result() for future in pending.popleft()]
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def grade_completion(record: Mapping[str, Any], completion: str, stop: threading.Event | None = None) -> Verdict:
    """Run the program in a completion on all tests of its problem, up to the first that it does not pass."""
    tests = record.get("tests") or []
    if not tests:
        return Verdict(False, "error", "the problem has no tests", tier=TIER)
    if not completion.strip():
        return Verdict(False, "failed", "the completion is empty", tier=TIER)
    program = find_program(completion, record.get("starter_code") or "", record.get("entry_point"))
    if program is None:
        return Verdict(False, "error", "no Python program in the completion", tier=TIER)
    wall_s = 0.0
    for number, test in enumerate(tests, start=1):
        if stop is not None and stop.is_set():
            return Verdict(False, "error", "interrupted", wall_s, TIER)
        status, detail, seconds = _run_test(program, record, test)
        wall_s += seconds
        if status != "passed":
            return Verdict(False, status, f"test {number} of {len(tests)}: {detail}", wall_s, TIER)
    return Verdict(True, "passed", "", wall_s, TIER)


def _run_test(program: str, record: Mapping[str, Any], test: Mapping[str, Any]) -> Run:
    if test["type"] == "stdin":
        done = run_program(program, test["input"])
        return _judged(done, _same_lines(done.stdout, test["output"]), done.stdout, test["output"])
    if test["type"] == "functional":
        return _run_functional(program, str(record["entry_point"]), test)
    # A call after the assertions: a program that ends itself before they ran has not passed them.
    done = run_call(f"{program}\n\n{test['code']}\n", "(lambda: None)", "")
    if done.status == "error" and done.detail.startswith("AssertionError"):
        return "failed", done.detail, done.wall_s
    return ("passed" if done.status == "ok" else done.status), done.detail, done.wall_s


def _run_functional(program: str, entry_point: str, test: Mapping[str, Any]) -> Run:
    classes = [node.name for node in parse_python(program).body if isinstance(node, ast.ClassDef)]
    target = f"Solution().{entry_point}" if "Solution" in classes else entry_point
    done = run_call(insert_before(IMPORTS, program), target, functional_arguments(test["input"]))
    same = False
    if done.status == "ok" and done.value is not None:
        try:
            value = parse_literal(done.value, max_chars=len(done.value))
            same = literal_equal(_with_lists(value), json.loads(test["output"]))
        except NotALiteral as error:
            return "error", f"returned no plain value ({error})", done.wall_s
    return _judged(done, same, str(done.value), test["output"])


def functional_arguments(text: str) -> str:
    """Argument-list source of a functional test's input: one JSON value a line."""
    return ", ".join(repr(json.loads(line)) for line in text.split("\n") if line.strip())


def _judged(done: Execution, same: bool, got: str, wanted: str) -> Run:
    if done.status != "ok":
        return done.status, done.detail, done.wall_s
    if same:
        return "passed", "", done.wall_s
    return "failed", f"gave {_clip(got)}, expected {_clip(wanted)}", done.wall_s


def _same_lines(got: str, wanted: str) -> bool:
    """Equal line by line, without space around lines and empty lines at either end."""
    left, right = ([line.strip() for line in text.strip().split("\n")] for text in (got, wanted))
    return left == right


def _with_lists(value: Any) -> Any:
    """The value with tuples as lists, as JSON has it."""
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return value


def _clip(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
