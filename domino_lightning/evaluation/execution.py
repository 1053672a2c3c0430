"""Running untrusted programs: each in a fresh subprocess with resource limits, never in this process.

A program gets its own session, a private temporary directory, an allow-listed environment, and limits that
`harness.py` sets in the child. Its value comes back over a pipe of its own as the repr of a plain value,
which is parsed again here and never executed. What this tier (`TIER`) does **not** do: hide the file system
or the network, stop a process that starts a session of its own, or protect the verdict from a program that
inspects its own process. It keeps mistakes and ordinary misbehaviour out of the parent; hostile code needs
a sandbox.
"""

from __future__ import annotations

import secrets
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.evaluation.answers import NotALiteral, parse_literal
from domino_lightning.evaluation.process import Ended, run_harness

TIER = "rlimits"

Judged = tuple[str, str | None, str]  # status, value, detail

_TIMEOUT_SIGNALS = frozenset((signal.SIGPROF, signal.SIGXCPU, signal.SIGALRM))


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        timeout_s: CPU seconds of the program, start-up of the interpreter excluded. As a backstop for
            programs that wait, and for work done in child processes, it may also take `wall_s` = 2 *
            timeout_s + 1 seconds of wall time; the slack is for machines that run more programs than they
            have cores.
        memory_mb: MiB of address space (per process; not enforced on macOS).
        output_bytes: most bytes of standard output, of standard error, and of the returned value's repr.
    """

    timeout_s: float = 6.0
    memory_mb: int = 1024
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_mb", "output_bytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name}={getattr(self, name)!r}: a limit is a positive finite number.")
        if self.memory_mb < 64:
            raise UserError(f"memory_mb={self.memory_mb}: the interpreter alone needs 64; give more.")

    @property
    def wall_s(self) -> float:
        """Seconds of wall time after which a program is killed, start-up included."""
        return 2 * self.timeout_s + 1


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


def run_call(code: str, entry_point: str, arguments: str, limits: Limits = Limits()) -> Execution:
    """Run `code` as a module, then `entry_point(arguments)`, and report the value it returns.

    Only exact plain values (None, bool, int, finite float, str, bytes, and list, tuple, dict, set,
    frozenset of them, nested at most 64 deep) are accepted: a subclass, a generator, NaN or infinity is an
    "error". Standard input is empty. `sys.exit` is an "error", and so is a `RecursionError`.
    """
    return _run_call(Call(code, entry_point, arguments), limits, None)


def run_program(code: str, stdin: str, limits: Limits = Limits()) -> Execution:
    """Run `code` as a whole program (`__name__ == "__main__"`) on `stdin`; the result is its standard output.

    "ok" means that it ended with exit code 0, `sys.exit()` and `exit()` included. `value` is None.
    """
    return _run("program", {"code": code}, stdin.encode("utf-8", "surrogatepass"), limits, None)


def run_calls(
    jobs: Iterable[Call], limits: Limits = Limits(), workers: int = 1
) -> Generator[Execution, None, None]:
    """Run many calls, `workers` at a time, and yield what became of them in the order of `jobs`.

    `jobs` is read as results are taken, a few ahead. Closing the iterator, or an exception such as
    KeyboardInterrupt while waiting on it, kills every program that still runs before control returns.

    Raises:
        UserError: `workers` is not positive.
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
    return _run("call", call._asdict(), b"", limits, stop)


def _run(
    mode: str, job: dict[str, object], stdin: bytes, limits: Limits, stop: threading.Event | None
) -> Execution:
    nonce = secrets.token_hex(16)
    settings: dict[str, object] = {
        "mode": mode,
        "nonce": nonce,
        "timeout_s": float(limits.timeout_s),
        "wall_s": float(limits.wall_s),
        "memory_bytes": int(limits.memory_mb) << 20,
        "output_bytes": int(limits.output_bytes),
        # Third-party packages stay importable, without the start-up cost of .pth files and site.py.
        "site_packages": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
    }
    ended = run_harness({**settings, **job}, stdin, limits.wall_s, int(limits.output_bytes), stop)
    judge = _judge_call if mode == "call" else _judge_program
    status, value, detail = _failure(ended, limits) or judge(ended, nonce)
    return Execution(status, value, detail, ended.wall_s, ended.stdout.decode("utf-8", "replace"))


def _failure(ended: Ended, limits: Limits) -> Judged | None:
    """How it failed, as far as signals and the parent's own kill tell."""
    if ended.killed == "output_limit":
        return "output_limit", None, f"wrote more than {limits.output_bytes} bytes"
    if ended.killed == "timeout":
        return "timeout", None, f"still running after {limits.wall_s:g} s of wall time"
    if -ended.returncode in _TIMEOUT_SIGNALS:
        return "timeout", None, f"more than {limits.timeout_s:g} s of CPU time"
    if ended.returncode < 0:
        return "crashed", None, f"killed by {_signal_name(-ended.returncode)}"
    return None


def _judge_call(ended: Ended, nonce: str) -> Judged:
    message = _message(ended, nonce)
    if message is None or ended.returncode != 0:
        return "crashed", None, f"ended without a result, exit code {ended.returncode}{_last_words(ended)}"
    status, payload = message
    if status != "value":
        return _failed(status, payload)
    try:
        parse_literal(payload, max_chars=ended.output_bytes)
    except NotALiteral as error:
        return "error", None, f"returned no plain value ({error})"
    return "ok", payload, ""


def _judge_program(ended: Ended, nonce: str) -> Judged:
    if ended.returncode == 0:
        return "ok", None, ""
    message = _message(ended, nonce)
    if message is None:
        return "error", None, f"exit code {ended.returncode}{_last_words(ended)}"
    return _failed(*message)


def _failed(status: str, payload: str) -> Judged:
    return (status if status in ("memory", "output_limit") else "error"), None, payload


def _message(ended: Ended, nonce: str) -> tuple[str, str] | None:
    """(status, payload) of the report, or None when there is none or it is not the harness's."""
    head, newline, body = bytes(ended.report).partition(b"\n")
    fields = head.split(b" ")
    if not newline or len(fields) != 3 or fields[0] != nonce.encode() or fields[2] != b"%d" % len(body):
        return None
    return fields[1].decode("ascii", "replace"), body.decode("utf-8", "replace")


def _last_words(ended: Ended) -> str:
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # the real-time signals have no names
