"""Running jobs under limits, with a second chance for what the machine, and not the program, made late."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from domino_lightning.errors import StageFailed
from domino_lightning.execution.sandbox.box import Box, BoxFailed
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.sandbox.pool import discard_box, open_box
from domino_lightning.execution.sandbox.running import Ended, Running, Stuck, one_line, watch

_ATTEMPTS = 5  # a box can end because of another program in it
_STARVED = 0.1  # of the wall limit spent waiting for a core: then the machine was part of the reason


class Failure(NamedTuple):
    """How a program failed, as far as its limits and its exit tell."""

    status: str
    detail: str


def execute(
    jobs: Sequence[dict[str, Any]],
    limits: Limits,
    stdin: bytes = b"",
    stop: threading.Event | None = None,
    tier: str | None = None,
) -> list[Ended]:
    """Run one job, or two that share a socket, each in a process tree of its own.

    A program that ran into the wall limit while it waited for a core, or whose box ended under it, is run once more
    with no other program of this process beside it, and then that counts.

    Args:
        jobs: what `inside/modes.py` takes.
        limits: of each.
        stdin: standard input of the first.
        stop: set when nobody wants the result any more.
        tier: the tier by name; None for the best one.

    Raises:
        UserError: the tier cannot be had.
        StageFailed: the sandbox itself fails, again and again.
        Stopped: `stop` was set.
    """
    with _GATE.shared():
        ended, again = _attempt(jobs, limits, stdin, stop, tier)
    if again or any(each.killed == "wall" and each.waited_s > _STARVED * limits.wall_s for each in ended):
        with _GATE.alone():
            ended, _ = _attempt(jobs, limits, stdin, stop, tier)
    return ended


def _attempt(
    jobs: Sequence[dict[str, Any]], limits: Limits, stdin: bytes, stop: threading.Event | None, tier: str | None
) -> tuple[list[Ended], bool]:
    """How the jobs ended, and whether their box did so under them, which any program in it may have caused."""
    problem = ""
    for _ in range(_ATTEMPTS):
        box = open_box(tier)
        try:
            ended = _run(box, jobs, limits, stdin, stop)
        except Stuck:
            discard_box(box)
            return [Ended(killed="wall") for _ in jobs], False
        except BoxFailed as error:
            problem = str(error)
            discard_box(box)
            continue
        problem = next((each.failure for each in ended if each.failure), "")
        if not problem:
            lost = box.gone and any(each.code is None and not each.killed for each in ended)
            if lost:
                discard_box(box)
            return ended, lost
    raise StageFailed(f"the sandbox could not run a program ({problem}); is the machine out of memory or processes?")


def _run(
    box: Box, jobs: Sequence[dict[str, Any]], limits: Limits, stdin: bytes, stop: threading.Event | None
) -> list[Ended]:
    running: list[Running] = []
    with contextlib.ExitStack() as sockets:
        peers: list[socket.socket | None] = [None]
        if len(jobs) > 1:
            peers = [sockets.enter_context(peer) for peer in socket.socketpair()]
        try:
            for job, peer in zip(jobs, peers, strict=True):
                running.append(Running(box, job, limits, stdin if not running else b"", peer))
        except BoxFailed:
            for started in running:
                started.kill()
                started.close()
            raise
    watch(running, limits, stop)
    return [each.ended for each in running]


def find_failure(ended: Ended, limits: Limits) -> Failure | None:
    """How it failed, or None: then it ran to an exit code of its own."""
    details = {
        "cpu": ("timeout", f"more than {limits.timeout_s:g} s of CPU time"),
        "wall": ("timeout", f"still running after {limits.wall_s:g} s of wall time"),
        "memory": ("memory", f"more than {limits.memory_mb} MiB of memory"),
        "output_limit": ("output_limit", f"wrote more than {limits.output_bytes} bytes"),
    }
    if ended.killed:
        return Failure(*details[ended.killed])
    if ended.code is None:
        return Failure("crashed", "the sandbox ended without a report")
    if ended.code < 0:
        return Failure("crashed", f"killed by {_signal_name(-ended.code)}")
    if ended.message is not None and ended.message.get("status") == "memory":
        return Failure(*details["memory"])
    return None


def last_words(ended: Ended) -> str:
    """The last line of standard error, as the end of a sentence."""
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return f": {one_line(lines[-1], 500)}" if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # the real-time signals have no names


class _Gate:
    """Many programs at a time, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._running == 0)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1
                self._running -= 1
                self._changed.notify_all()


_GATE = _Gate()
