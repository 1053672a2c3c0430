"""The parent's side of running programs in a box: descriptors out, bytes and a signed report back.

The parent never feeds a program: job and standard input are sealed files in memory. It drains what comes
back within bounds, and takes a program for gone only when its whole process namespace is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from marshal import dumps
from pathlib import Path
from typing import Any

from domino_lightning.execution.sandbox.box import Box, BoxFailed
from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.limits import DEFAULTS, Limits

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TAIL = 1 << 12
_SLACK = 1 << 16  # of the channel, beyond the value
_HEAD = 1 << 16  # of a message, most bytes before its value
_TICK_MS = 50
_GRACE_S = 5.0  # for the sandbox to enforce its own wall limit, then to die
_MFD = getattr(os, "MFD_CLOEXEC", 0) | getattr(os, "MFD_ALLOW_SEALING", 0)
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write


class Stuck(BoxFailed):
    """A program kept the box from ending it; without the box it ends."""


class Stopped(Exception):
    """The caller went away; nobody wants the result."""


@dataclass
class Ended:
    """A program that is over, with everything it started.

    Attributes:
        code: exit code, negative for a signal; None if the sandbox gave no report signed with the run's nonce.
        killed: "cpu", "wall", "memory" or "output_limit" if a limit ended it, else "".
        message: what the process sent over its channel (not trusted), or None; its "value" is JSON that nobody
            has read.
        stdout: standard output, at most the limit.
        stderr: the end of standard error.
        wall_s, cpu_s, waited_s: seconds in all, on a core, and waiting for one.
        failure: why it did not start.
    """

    code: int | None = None
    killed: str = ""
    message: dict[str, Any] | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    waited_s: float = 0.0
    failure: str = ""


@dataclass
class _Pipe:
    """The end of what arrives on a pipe."""

    fd: int
    data: bytearray = field(default_factory=bytearray)
    open: bool = True

    def take(self) -> bool:
        """Read once; whether there was something."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return False
        self.open = bool(chunk)
        self.data += chunk
        del self.data[:-_TAIL]
        return self.open


class Running:
    """One program that has been started. `watch` sees it to its end.

    Its standard output and its channel are files in memory, so that writing there wakes nobody.

    Raises:
        BoxFailed: the box is gone.
    """

    def __init__(
        self, box: Box, job: dict[str, Any], limits: Limits, stdin: bytes = b"", peer: socket.socket | None = None
    ) -> None:
        self.ended = Ended()
        self.started = time.monotonic()
        self._nonce, self._channel_nonce = secrets.token_hex(16), secrets.token_hex(16)
        self._most = int(limits.output_bytes)
        self._directory = None if box.isolated else tempfile.mkdtemp(prefix="domino-program-")
        header = {
            "cpu_s": float(limits.timeout_s),
            "wall_s": float(limits.wall_s),
            "memory_bytes": int(limits.memory_mb) << 20,
            "disk_bytes": int(limits.disk_bytes),
            "output_bytes": self._most,
            "directory": self._directory,
            "checker": job["mode"] == "check",
        }
        packed = dumps({"nonce": self._channel_nonce, "output_bytes": self._most, **job})
        with contextlib.ExitStack() as theirs:
            life, life_end = _pipe(theirs)
            err, err_end = _pipe(theirs)
            self.life, self.err = _Pipe(life), _Pipe(err)
            self._out, self._channel = _file(), _file()
            self._control, control = socket.socketpair()
            theirs.callback(control.close)
            given = [_sealed(data) for data in (packed, stdin)]
            for fd in given:
                theirs.callback(os.close, fd)
            if box.isolated:  # so that it can open /dev/stderr, as a user of its own
                os.fchmod(err_end, 0o666)
            fds = [life_end, control.fileno(), *given, self._out, err_end, self._channel]
            try:
                # Before the start: a checker may have ended before this process runs again, and waits for nothing.
                self._control.send(self._nonce.encode())
                box.spawn(header, [*fds, *([peer.fileno()] if peer is not None else [])])
            except BaseException:
                self.close()
                raise

    def kill(self, why: str = "") -> None:
        """Hang up: the sandbox then kills everything and gives no report."""
        self.ended.killed = self.ended.killed or why
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        self._control.close()
        for fd in (self.life.fd, self.err.fd, self._out, self._channel):
            os.close(fd)
        if self._directory is not None:
            shutil.rmtree(self._directory, onerror=_unlock)

    def settle(self) -> None:
        """Judge what has arrived, now that nothing more can."""
        ended = self.ended
        while self.err.take():
            pass
        ended.wall_s = time.monotonic() - self.started
        ended.stdout, ended.stderr = _content(self._out, self._most + 1), bytes(self.err.data)
        channel = _content(self._channel, self._most + _SLACK)
        if len(ended.stdout) > self._most or len(channel) == self._most + _SLACK:
            ended.killed = ended.killed or "output_limit"
            ended.stdout = ended.stdout[: self._most]
        ended.failure = bytes(self.life.data).decode("utf-8", "replace")
        with contextlib.suppress(OSError, ValueError):
            self._control.setblocking(False)
            report = json.loads(self._control.recv(_TAIL))
            ended.failure = ended.failure or report.get("failure", "")
            if report.get("nonce") == self._nonce:
                ended.code, ended.cpu_s, ended.waited_s = report["code"], report["cpu_s"], report["waited_s"]
                ended.killed = ended.killed or report["killed"]
                if not report.get("clock", True):  # a checker starts nothing
                    _tell_of_the_clock()
        head, _, value = channel.partition(b"\n")
        with contextlib.suppress(wire.NotPlain):
            message = wire.loads(head[:_HEAD])
            if isinstance(message, dict) and message.get("nonce") == self._channel_nonce:
                ended.message = {"value": value}
                for name in ("status", "detail", "kind"):
                    text = message.get(name)
                    ended.message[name] = one_line(text) if isinstance(text, str) else None


@lru_cache(maxsize=1)
def _tell_of_the_clock() -> None:
    """Once a process."""
    setting = Path("/proc/sys/kernel/perf_event_paranoid")
    value = f"{setting} is {setting.read_text().strip()}, at most 2 is needed" if setting.exists() else "no setting"
    log.warning(
        "This host's kernel gives programs no clock that counts all their descendants (%s): the CPU time of children "
        "that a program does not wait for is estimated by looking who runs.",
        value,
    )


def run_one(
    box: Box,
    job: dict[str, Any],
    limits: Limits = DEFAULTS,
    stdin: bytes = b"",
    stop: threading.Event | None = None,
) -> Ended:
    """Run one program to its end.

    Raises:
        BoxFailed: the box is gone.
        Stopped: `stop` was set meanwhile.
    """
    running = Running(box, job, limits, stdin)
    watch([running], limits, stop)
    return running.ended


def watch(programs: Sequence[Running], limits: Limits, stop: threading.Event | None = None) -> None:
    """See programs to their end; when the last one ends badly, those that serve it are not waited for.

    Raises:
        BoxFailed: the box does not let go of a program.
        Stopped: `stop` was set.
    """
    deadline = time.monotonic() + limits.wall_s + _GRACE_S
    poll = select.poll()
    owners: dict[int, tuple[Running, _Pipe]] = {}
    try:
        for program in programs:
            for pipe in (program.life, program.err):
                poll.register(pipe.fd, select.POLLIN)
                owners[pipe.fd] = program, pipe
        left = set(programs)
        while left:
            for fd, _ in poll.poll(_TICK_MS):
                program, pipe = owners[fd]
                pipe.take()
                if not pipe.open:
                    poll.unregister(fd)
                if pipe is program.life and not pipe.open:
                    program.settle()
                    left.discard(program)
                    if program is programs[-1] and _ended_badly(program.ended):
                        for other in left:
                            other.kill()
            if stop is not None and stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                if time.monotonic() > deadline + _GRACE_S:
                    raise Stuck("the sandbox does not end a program")
                for program in left:
                    program.kill("wall")
    finally:
        for program in programs:
            program.kill()
            program.close()


def _ended_badly(ended: Ended) -> bool:
    """Whether there is no point in what runs beside it; "gone" says that the other one has ended already."""
    status = (ended.message or {}).get("status")
    return ended.code != 0 or bool(ended.killed) or status not in ("passed", "served", "gone")


def one_line(text: str, limit: int = 600) -> str:
    """A text from a program as one printable line that any file can hold."""
    short = text if len(text) <= limit else text[:limit] + "..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(short.split()))


def _pipe(theirs: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose reading end does not block; its writing end is closed with `theirs`."""
    read, write = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    theirs.callback(os.close, write)
    os.set_blocking(read, False)
    return read, write


def _file() -> int:
    """A descriptor of an empty file in memory (on macOS on disk) that is appended to."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    fd = os.memfd_create("output", _MFD)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _content(fd: int, most: int) -> bytes:
    """The first bytes of a file."""
    size = min(os.fstat(fd).st_size, most)
    return os.pread(fd, size, 0)


def _sealed(data: bytes) -> int:
    """A read-only descriptor of a file in memory with this content, at its start."""
    fd = _file()
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        if not hasattr(os, "memfd_create"):
            os.lseek(fd, 0, os.SEEK_SET)
            return os.dup(fd)
        fcntl.fcntl(fd, getattr(fcntl, "F_ADD_SEALS", 1033), _SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def _unlock(function: Any, path: str, _: object) -> None:
    """Remove what a program has made unremovable."""
    with contextlib.suppress(OSError):
        if os.path.islink(path):
            return  # its target is not ours
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        function(path)
