"""One harness subprocess: started in isolation, fed and read without dead-lock, killed whole, cleaned up.

It gets its own session, a private temporary directory and an allow-listed environment. On return, and on any
exception (KeyboardInterrupt included), no process of its group and nothing of its directory is left; a
process that the program moved into a session of its own escapes this.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_HARNESS = str(Path(__file__).with_name("harness.py"))
_TICK_S = 0.05  # how often a silent program is checked for exit, deadline and a stop request
_CHUNK = 1 << 16
_REPORT_SLACK = 1 << 12  # the header of a report, and details longer than a small output limit


class Stopped(Exception):
    """The caller went away; nobody wants the result."""


@dataclass
class Ended:
    """A subprocess that is over: what it left in its pipes, and how it ended.

    Attributes:
        wall_limit_s: seconds of wall time after which it is killed.
        output_bytes: most bytes of each pipe, beyond which it is killed.
        wall_s: seconds from start to end.
        returncode: as in `subprocess`: negative for a signal.
        killed: "timeout" or "output_limit" when this side ended it, else "".
    """

    wall_limit_s: float
    output_bytes: int
    wall_s: float = 0.0
    returncode: int = 0
    killed: str = ""
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    report: bytearray = field(default_factory=bytearray)

    def take(self, name: str, file: IO[bytes]) -> int | None:
        """Read once into the named buffer: the number of bytes, 0 at the end, None if nothing is there."""
        chunk: bytes | None = file.read(_CHUNK)
        if chunk is None:
            return None
        buffer: bytearray = getattr(self, name)
        buffer += chunk
        cap = self.output_bytes + (_REPORT_SLACK if name == "report" else 0)
        if len(buffer) > cap:
            del buffer[cap:]
            self.killed = self.killed or "output_limit"
        return len(chunk)


def run_harness(
    job: dict[str, object],
    stdin: bytes,
    wall_s: float,
    output_bytes: int,
    stop: threading.Event | None = None,
) -> Ended:
    """Start the harness on a job (plain values, see `harness.py`) and see it through.

    Raises:
        Stopped: `stop` was set meanwhile.
    """
    ended = Ended(wall_s, output_bytes)
    packed = marshal.dumps(job)
    directory = tempfile.TemporaryDirectory(prefix="domino-program-")
    started = time.monotonic()
    try:
        read_fd, write_fd = os.pipe()
        with os.fdopen(read_fd, "rb", buffering=0) as report:
            try:
                process = subprocess.Popen(
                    # -I would also ignore PYTHONHASHSEED; the environment below is as empty as it makes it
                    [sys.executable, "-P", "-s", "-S", "-B", _HARNESS, str(write_fd)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=(write_fd,),
                    cwd=directory.name,
                    env=_environment(directory.name),
                    start_new_session=True,
                )
            finally:
                os.close(write_fd)
            try:
                _converse(process, report, b"%016x" % len(packed) + packed + stdin, ended, stop)
            finally:
                _close(process)
        ended.returncode = process.returncode
        ended.wall_s = time.monotonic() - started
    finally:
        _remove(directory)
    return ended


def _environment(directory: str) -> dict[str, str]:
    environment = {
        "PATH": os.defpath,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",  # a set of strings has the same repr in every run
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",  # a thread's stack and buffers count as address space
    }
    if "LD_LIBRARY_PATH" in os.environ:  # some interpreters do not start without it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _converse(
    process: subprocess.Popen[bytes],
    report: IO[bytes],
    data: bytes,
    ended: Ended,
    stop: threading.Event | None,
) -> None:
    """Feed the job and read the pipes until the program is over, late or too loud; then kill what it left.

    Reading stops when the main process ends, not at the end of the pipes: a child left behind may hold them.

    Raises:
        Stopped: `stop` was set.
    """
    deadline = time.monotonic() + ended.wall_limit_s
    unsent = memoryview(data)
    outputs = {"stdout": process.stdout, "stderr": process.stderr, "report": report}
    files = {name: file for name, file in {"stdin": process.stdin, **outputs}.items() if file is not None}
    with selectors.DefaultSelector() as selector:
        for name, file in files.items():
            os.set_blocking(file.fileno(), False)
            selector.register(file, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, name)
        while not ended.killed and not _exited(process):
            if stop is not None and stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                ended.killed = "timeout"
            for key, _ in selector.select(_TICK_S if selector.get_map() else 0.001):
                file = files[key.data]
                if key.data == "stdin":
                    unsent = _send(file, unsent)
                    done = not unsent
                else:
                    done = ended.take(key.data, file) == 0
                if done:
                    selector.unregister(file)
                    file.close()
    _kill_group(process)
    for name, file in files.items():
        if name != "stdin" and not file.closed:
            for _ in range(ended.output_bytes // _CHUNK + 2):  # a runaway process may write for ever
                if not ended.take(name, file):
                    break


def _send(file: IO[bytes], data: memoryview) -> memoryview:
    """What is still to be sent after one write; nothing once the program has closed its input."""
    try:
        return data[file.write(data[:_CHUNK]) or 0 :]
    except BrokenPipeError:
        return data[:0]


def _exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the main process is over; not reaped, so that its id stays taken until its group is killed."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left; on macOS, zombies only
        os.killpg(process.pid, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        _kill_group(process)
    process.wait()
    for file in (process.stdin, process.stdout, process.stderr):
        if file is not None:
            file.close()


def _remove(directory: tempfile.TemporaryDirectory[str]) -> None:
    for pause in (0.0, 0.01, 0.05, 0.2):  # killed children may still write for a moment
        time.sleep(pause)
        try:
            directory.cleanup()
            return
        except (OSError, RecursionError) as error:
            failure = error
    log.warning("%s: a program's temporary directory could not be removed (%s)", directory.name, failure)
