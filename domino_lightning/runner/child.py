"""The starting side of a stage process: its job, its messages, its end, and killing it whole."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.runner.job import PARENT, REPORT_FD, without_ranks
from domino_lightning.runner.planned import Announce, PlannedStage, StageOutcome
from domino_lightning.store.store import Store
from domino_lightning.utils.jsonl import write_json

StageMessage = dict[str, Any]
GRACE_S = 3.0  # between asking a process to end and killing it
_TICK_S = 0.1  # how often an exit is looked for where the system cannot tell


class StageProcess:
    """A stage, or a rank of it, as the leader of a process group of its own, which dies with this process (on Linux).

    Args:
        job: its job file.
        stage: its name, for messages.
        environment: variables over those of this process.
        output: where its standard output and error go; by default where this process's go.

    Start it from a thread that stays: the kernel's signal at the parent's death is one at that thread's death.
    """

    def __init__(
        self, job: Path, stage: str, environment: Mapping[str, str] | None = None, output: IO[bytes] | None = None
    ) -> None:
        self.stage = stage
        self.received: list[StageMessage] = []
        self.rss_mb = 0  # largest resident set, known at the end
        self._buffer = b""
        self._report, write_fd = os.pipe()
        os.set_blocking(self._report, False)
        private = {PARENT: str(os.getpid()), REPORT_FD: str(write_fd)}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "domino_lightning.runner.process", str(job.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**without_ranks(os.environ), **(environment or {}), **private},
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(write_fd)
        self._exit = _exit_fd(self.process.pid)

    @property
    def fds(self) -> list[int]:
        """What becomes readable when there is news."""
        return [fd for fd in (self._report, self._exit) if fd >= 0]

    def poll(self) -> tuple[list[StageMessage], bool]:
        """New messages, and whether the process is over; then its whole group is."""
        over = self._over()  # looked up first: then what it wrote before its end is there
        messages = self._read()
        self.received += messages
        if over:
            self._close()
        return messages, over

    def messages(self) -> Iterator[StageMessage]:
        """Messages as they come, until the process is over."""
        over = False
        while not over:
            wait_for_news([self], 1.0)
            messages, over = self.poll()
            yield from messages

    def ended(self) -> StageMessage:
        """The last message of a process that is over: `finished`, `busy`, or `failed` with `how` and `error`."""
        for message in reversed(self.received):
            if message["event"] in {"finished", "busy", "failed"}:
                return message
        code, stage = self.process.returncode, f"stage {self.stage}"
        if code in (130, -signal.SIGINT):
            return {"event": "failed", "how": "interrupted", "error": f"{stage} was interrupted"}
        if code == -signal.SIGKILL:
            why = f"out of memory, or killed by hand; it held {self.rss_mb} MB at most"
            return {"event": "failed", "how": "signal", "error": f"{stage} was killed by signal 9: {why}"}
        if code < 0:
            name = signal.Signals(-code).name
            return {"event": "failed", "how": "signal", "error": f"{stage} was killed by signal {-code} ({name})"}
        return {"event": "failed", "how": "error", "error": f"{stage} ended with exit code {code} before it finished"}

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Interrupt the process, and kill its whole group after so many seconds at the latest."""
        stop_all([self], grace_s)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ask the process to end, as Ctrl-C does, or by another signal."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill the whole group and wait for the process's end."""
        if self.process.returncode is None:
            self._kill_group_and_reap()
        self._close()

    def _over(self) -> bool:
        if self.process.returncode is not None:
            return True
        # The process is reaped after its group is killed: until then its id names the group and nothing else.
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._kill_group_and_reap()
        return True

    def _kill_group_and_reap(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.rss_mb = usage.ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)

    def _read(self) -> list[StageMessage]:
        with contextlib.suppress(BlockingIOError):
            while self._report >= 0 and (chunk := os.read(self._report, 1 << 16)):
                self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def _close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self._report = self._exit = -1


def write_job(
    path: Path,
    store: Store,
    planned: PlannedStage,
    tracking: Tracking,
    force: bool = False,
    wait: bool = True,
    directory: Path | None = None,
) -> None:
    """Write all that a stage process has to know.

    Args:
        path: of the job file; only its owner can read it, since it holds the section as it is, secrets among it.
        store: where the stage lies.
        planned: what to run.
        tracking: of its W&B run.
        force: run it again although it is finished.
        wait: wait for another process that holds the stage, instead of ending with the message `busy`.
        directory: of an attempt: work there, and publish.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "stage": planned.stage,
            "fingerprint": planned.key.fingerprint,
            "inputs": dict(planned.key.inputs),
            "contents": dict(planned.key.contents),
            "sources": dict(planned.key.sources),
            "section": planned.section,
            "root": str(store.root.resolve()),
            "tracking": vars(tracking) | {"root": str(Path(tracking.root).resolve())},
            "force": force,
            "wait": wait,
            "directory": str(directory) if directory else None,
        },
    )
    path.chmod(0o600)


class Child(StageProcess):
    """The process of a planned stage, whose job file it writes.

    Args:
        store: where the stage lies.
        planned: what to run.
        tracking: of its W&B run.
        force: run it again although it is finished.
        wait: wait for another process that holds the stage, instead of ending with the message `busy`.
        environment: variables over those of this process.
        output: where its standard output and error go; by default where this process's go.
    """

    def __init__(
        self,
        store: Store,
        planned: PlannedStage,
        tracking: Tracking,
        force: bool = False,
        wait: bool = True,
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
    ) -> None:
        job = store.path(*planned.id).with_name(f".{planned.key.fingerprint}.job.json")
        write_job(job, store, planned, tracking, force, wait)
        super().__init__(job, planned.stage, environment, output)


def _exit_fd(pid: int) -> int:
    """A descriptor that is readable when the process has ended, or -1 where the system has none."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def wait_for_news(children: Sequence[StageProcess], seconds: float) -> None:
    """Return as soon as one of the processes has said something or ended, or after so many seconds."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            for fd in child.fds:
                selector.register(fd, selectors.EVENT_READ)
        blind = any(len(child.fds) < 2 for child in children)
        selector.select(min(seconds, _TICK_S) if blind else seconds)


def stop_all(children: Sequence[StageProcess], grace_s: float = GRACE_S) -> None:
    """Interrupt the processes, and kill their whole groups after so many seconds at the latest."""
    for child in children:
        child.interrupt()
    give_up = time.monotonic() + grace_s
    left = list(children)
    try:
        while left and (seconds := give_up - time.monotonic()) > 0:
            wait_for_news(left, seconds)
            left = [child for child in left if not child.poll()[1]]
    finally:  # a second Ctrl-C ends the grace
        for child in left:
            child.kill()


def run_apart(
    store: Store,
    planned: PlannedStage,
    tracking: Tracking,
    force: bool = False,
    announce: Announce = lambda text: None,
) -> StageOutcome:
    """Run a stage as `run_planned` does, in a process of its own, and wait for it.

    Raises:
        UserError: bad input found by the stage.
        StageFailed: the stage did not finish.
    """
    child = Child(store, planned, tracking, force=force, wait=True)
    try:
        for message in child.messages():
            if message["event"] == "announce":
                announce(message["text"])
    except BaseException:
        child.stop()
        raise
    ended = child.ended()
    if ended["event"] == "finished":
        return StageOutcome(planned, store.path(*planned.id), ended["ran"], ended["wall_s"])
    if ended["how"] == "interrupted":
        raise KeyboardInterrupt
    if ended["how"] == "signal":
        raise StageFailed(f"{ended['error']}. The same command continues it. Directory: {store.path(*planned.id)}")
    raise (UserError if ended["how"] == "input" else StageFailed)(ended["error"])
