"""The parent's side of running programs in a box: descriptors out, bytes and a signed report back.

The parent never feeds a program: job and standard input are sealed files in memory. It drains what comes
back within bounds, and takes a program for gone only when its whole process namespace is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
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
from marshal import dumps
from typing import Any

from domino_lightning.evaluation.sandbox.box import Box, BoxFailed
from domino_lightning.evaluation.sandbox.inside import wire
from domino_lightning.evaluation.sandbox.limits import DEFAULTS, Limits

_CHUNK = 1 << 20
_TAIL = 1 << 12
_SLACK = 1 << 16  # of the channel, beyond the value
_TICK_MS = 50
_GRACE_S = 5.0  # for the sandbox to enforce its own wall limit, then to die
_MFD = getattr(os, "MFD_CLOEXEC", 0) | getattr(os, "MFD_ALLOW_SEALING", 0)
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write


class Stopped(Exception):
    """The caller went away; nobody wants the result."""


@dataclass
class Ended:
    """A program that is over, with everything it started.

    Attributes:
        code: exit code, negative for a signal; None if the sandbox gave no report signed with the run's nonce.
        killed: "cpu", "wall", "memory" or "output_limit" if a limit ended it, else "".
        message: what the process sent over its channel (not trusted), or None.
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
class _Stream:
    """What has arrived on one descriptor: its head up to `limit`, or its tail."""

    fd: int
    limit: int
    tail: bool = False
    data: bytearray = field(default_factory=bytearray)
    full: bool = False
    open: bool = True

    def take(self) -> bool:
        """Read once; whether there was something."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self.open = False
            return False
        self.data += chunk
        if len(self.data) > self.limit:
            self.full = not self.tail
            if self.tail:
                del self.data[: -self.limit]
            else:
                del self.data[self.limit :]
        return True


class Running:
    """One program that has been started. `watch` sees it to its end.

    Raises:
        BoxFailed: the box is gone.
    """

    def __init__(
        self, box: Box, job: dict[str, Any], limits: Limits, stdin: bytes = b"", peer: socket.socket | None = None
    ) -> None:
        self.nonce = secrets.token_hex(16)
        channel_nonce = secrets.token_hex(16)
        self.ended = Ended()
        self.started = time.monotonic()
        self._channel_nonce = channel_nonce
        self._directory = None if box.isolated else tempfile.mkdtemp(prefix="domino-program-")
        header = {
            "cpu_s": float(limits.timeout_s),
            "wall_s": float(limits.wall_s),
            "memory_bytes": int(limits.memory_mb) << 20,
            "disk_bytes": int(limits.disk_bytes),
            "directory": self._directory,
        }
        with contextlib.ExitStack() as theirs:
            pipes = []
            for _ in range(4):  # life line, standard output, standard error, channel
                read, write = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
                theirs.callback(os.close, write)
                pipes.append((read, write))
            self.control, control = socket.socketpair()
            theirs.callback(control.close)
            source = _sealed(dumps({"nonce": channel_nonce, "output_bytes": limits.output_bytes, **job}))
            theirs.callback(os.close, source)
            given = _sealed(stdin)
            theirs.callback(os.close, given)
            life, out, err, channel = pipes
            self.life = _Stream(life[0], _TAIL)
            self.report = _Stream(self.control.fileno(), _TAIL)
            self.out = _Stream(out[0], int(limits.output_bytes))
            self.err = _Stream(err[0], _TAIL, tail=True)
            self.channel = _Stream(channel[0], int(limits.output_bytes) + _SLACK)
            self.streams = (self.life, self.report, self.out, self.err, self.channel)
            for stream in self.streams:
                os.set_blocking(stream.fd, False)
            if box.isolated:  # so that it can open /dev/stdout, as a user of its own
                for _, write in (out, err):
                    os.fchmod(write, 0o666)
            fds = [life[1], control.fileno(), source, given, out[1], err[1], channel[1]]
            try:
                box.spawn(header, [*fds, *([peer.fileno()] if peer is not None else [])])
                self.control.send(self.nonce.encode())
            except BaseException:
                self.close()
                raise

    def kill(self, why: str = "") -> None:
        """Hang up: the sandbox then kills everything and gives no report."""
        self.ended.killed = self.ended.killed or why
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        self.control.close()
        for stream in self.streams:
            if stream is not self.report:
                os.close(stream.fd)
        if self._directory is not None:
            shutil.rmtree(self._directory, onerror=_unlock)

    def settle(self) -> None:
        """Judge what has arrived, now that nothing more can."""
        ended = self.ended
        for stream in (self.report, self.out, self.err, self.channel):
            while not stream.full and stream.take():
                pass
        ended.wall_s = time.monotonic() - self.started
        ended.stdout, ended.stderr = bytes(self.out.data), bytes(self.err.data)
        if (self.out.full or self.channel.full) and not ended.killed:
            ended.killed = "output_limit"
        try:
            report = json.loads(bytes(self.report.data) or b"{}")
        except ValueError:
            report = {}
        ended.failure = report.get("failure", "") or bytes(self.life.data).decode("utf-8", "replace")
        if report.get("nonce") == self.nonce:
            ended.code, ended.cpu_s, ended.waited_s = report["code"], report["cpu_s"], report["waited_s"]
            ended.killed = ended.killed or report["killed"]
        with contextlib.suppress(wire.NotPlain):
            message = wire.loads(bytes(self.channel.data))
            if isinstance(message, dict) and message.get("nonce") == self._channel_nonce:
                ended.message = {"value": message.get("value")}
                for name in ("status", "detail", "kind"):
                    text = message.get(name)
                    ended.message[name] = one_line(text) if isinstance(text, str) else None


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
    owners: dict[int, tuple[Running, _Stream]] = {}
    try:
        for program in programs:
            for stream in program.streams:
                poll.register(stream.fd, select.POLLIN)
                owners[stream.fd] = program, stream
        left = set(programs)
        while left:
            for fd, _ in poll.poll(_TICK_MS):
                program, stream = owners[fd]
                stream.take()
                if stream.full:
                    program.kill("output_limit")
                if stream.full or not stream.open:
                    poll.unregister(fd)
                if stream is program.life and not stream.open:
                    program.settle()
                    left.discard(program)
                    if program is programs[-1] and _ended_badly(program.ended):
                        for other in left:
                            other.kill()
            if stop is not None and stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                if time.monotonic() > deadline + _GRACE_S:
                    raise BoxFailed("the sandbox does not end a program")
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


def _sealed(data: bytes) -> int:
    """A read-only descriptor of a file in memory with this content, at its start."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            return os.dup(file.fileno())
    fd = os.memfd_create("input", _MFD)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(fd, getattr(fcntl, "F_ADD_SEALS", 1033), _SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def _unlock(function: Any, path: str, _: object) -> None:
    """Remove what a program has made unremovable."""
    with contextlib.suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        function(path)
