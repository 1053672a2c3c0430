"""Running untrusted programs, each in a process tree of its own inside the sandbox, never in this process.

What each tier covers is in docs/grading.md. A program's value comes back over a pipe as the repr of a plain
value, which is parsed again here and never executed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.execution.literals import NotALiteral, parse_literal
from domino_lightning.execution.sandbox.execute import execute, find_failure, last_words
from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.limits import DEFAULTS, Limits
from domino_lightning.execution.sandbox.running import Ended

__all__ = ["Call", "Execution", "Limits", "run_call", "run_calls", "run_program"]

_MESSAGES = ("memory", "output_limit")


@dataclass(frozen=True)
class Execution:
    """What became of one program.

    Attributes:
        status: "ok", "error" (raised, exited non-zero, or returned no plain value), "timeout", "memory",
            "output_limit", or "crashed" (killed by a signal, or gone without a result).
        value: repr of the returned plain value; None unless a call ended "ok".
        detail: one line for a reader: what went wrong; empty when "ok".
        wall_s: seconds from start to end.
        stdout: what was printed, cut at `output_bytes`; bytes that are not UTF-8 become U+FFFD.
    """

    status: str
    value: str | None
    detail: str
    wall_s: float
    stdout: str


class Call(NamedTuple):
    """`entry_point(arguments)` after `code`; `arguments` is argument-list source such as `1, x=[2]`."""

    code: str
    entry_point: str
    arguments: str


def run_call(code: str, entry_point: str, arguments: str, limits: Limits = DEFAULTS) -> Execution:
    """Run `code` as a module, then `entry_point(arguments)`, and report the value it returns.

    Only exact plain values (None, bool, int, finite float, str, bytes, and list, tuple, dict, set,
    frozenset of them, nested at most 64 deep) are accepted: a subclass, a generator, NaN or infinity is an
    "error". Standard input is empty. `sys.exit` is an "error", and so is a `RecursionError`. "ok" also means
    that the program came to a clean end after it: no thread that hangs, no exit handler with another code.

    Raises:
        UserError: this host has no sandbox, and none was waived by name (see docs/grading.md).
        StageFailed: the sandbox itself fails.
    """
    return _run_call(Call(code, entry_point, arguments), limits, None)


def run_program(code: str, stdin: str, limits: Limits = DEFAULTS) -> Execution:
    """Run `code` as a whole program (`__name__ == "__main__"`) on `stdin`; the result is its standard output.

    "ok" means that it ended with exit code 0, `sys.exit()` and `exit()` included. `value` is None.

    Raises:
        UserError, StageFailed: as for `run_call`.
    """
    job = {"mode": "program", "code": code, "implicit": False}
    (ended,) = execute([job], limits, stdin.encode("utf-8", "surrogatepass"))
    failure = find_failure(ended, limits)
    if failure is not None:
        return _result(ended, *failure)
    if ended.code == 0:
        return _result(ended, "ok", "")
    if ended.message is None:
        return _result(ended, "error", f"exit code {ended.code}{last_words(ended)}")
    return _result(ended, "error", ended.message.get("detail") or "")


def run_calls(jobs: Iterable[Call], limits: Limits = DEFAULTS, workers: int = 1) -> Generator[Execution, None, None]:
    """Run many calls, `workers` at a time, and yield what became of them in the order of `jobs`.

    `jobs` is read as results are taken, a few ahead. Closing the iterator, or an exception such as
    KeyboardInterrupt while waiting on it, kills every program that still runs before control returns.

    Raises:
        UserError: `workers` is not positive; or as for `run_call`.
        StageFailed: as for `run_call`.
    """
    if workers < 1:
        raise UserError(f"workers={workers}: give at least one.")
    return _run_calls(jobs, limits, workers)


def _run_calls(jobs: Iterable[Call], limits: Limits, workers: int) -> Generator[Execution, None, None]:
    stop = threading.Event()
    pending: deque[Future[Execution]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="grade")
    try:
        for job in jobs:
            pending.append(pool.submit(_run_call, job, limits, stop))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _run_call(call: Call, limits: Limits, stop: threading.Event | None) -> Execution:
    job = {"mode": "literal", "implicit": False, **call._asdict()}
    (ended,) = execute([job], limits, stop=stop)
    failure = find_failure(ended, limits)
    if failure is not None:
        return _result(ended, *failure)
    message: dict[str, Any] = ended.message or {}
    status, detail = message.get("status"), message.get("detail") or ""
    if status is None:
        return _result(ended, "crashed", f"ended without a result, exit code {ended.code}{last_words(ended)}")
    if status != "value":
        return _result(ended, status if status in _MESSAGES else "error", detail)
    if ended.code != 0:
        return _result(ended, "error", f"exit code {ended.code} after the result{last_words(ended)}")
    try:
        value = _text(message["value"])
        parse_literal(value, max_chars=limits.output_bytes)
    except NotALiteral as error:
        return _result(ended, "error", f"returned no plain value ({error})")
    return _result(ended, "ok", "", value)


def _text(data: bytes) -> str:
    """The string that a program sent, JSON; nothing else is read, however much of it there is."""
    try:
        value = wire.loads(data) if data.startswith(b'"') else None
    except wire.NotPlain:
        value = None
    if not isinstance(value, str):
        raise NotALiteral("not even text")
    return value


def _result(ended: Ended, status: str, detail: str, value: str | None = None) -> Execution:
    return Execution(status, value, detail, ended.wall_s, ended.stdout.decode("utf-8", "replace"))
