"""The first process of a program's pid namespace: mounts, drops privileges, watches, and reports how it ended.

It forks the program and afterwards reads the run's nonce, so that the program's memory never held it. It is
not dumpable and immune to signals from inside its namespace; when it exits, the kernel kills what is left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from domino_lightning.execution.sandbox.inside import kernel

BOX = "/box"  # what a program may write to
WORK = f"{BOX}/work"  # where it starts; its source lies beside
UID = 1000  # inside; outside it is a number of its own per running program
_TICK_S = 0.02
_NONCE = 32
_SLACK = 1 << 16  # of the channel, beyond the value; and of what the parent tells apart by itself
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CORES = os.cpu_count() or 1
_FEW = 8  # processes whose pages are told apart, which takes its time
_LINUX = sys.platform == "linux"


def run_init(
    limits: dict[str, Any], fds: Sequence[int], start: Callable[[dict[str, Any], Sequence[int]], NoReturn]
) -> NoReturn:
    """Confine this process, fork the program, see it to its end, report, exit.

    Args:
        limits: what `box.py` sends with a job; times in seconds, sizes in bytes.
        fds: the control socket, then what belongs to the program.
        start: runs the program on its descriptors in the forked process.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in fds]
        try:
            _confine(limits)
        except OSError as error:
            os.write(fds[0], json.dumps({"failure": str(error)}).encode())
            raise
        program = os.fork()
        if program == 0:
            start(limits, fds[1:])
        for target, fd in enumerate((fds[0], fds[3], fds[5]), start=3):  # control, standard output, channel
            os.dup2(fd, target)
        os.closerange(6, 1 << 16)
        control = socket.socket(fileno=3)
        nonce = control.recv(_NONCE, socket.MSG_WAITALL)
        if len(nonce) == _NONCE:
            control.sendall(json.dumps({"nonce": nonce.decode(), **_watch(program, control, limits)}).encode())
            code = 0
    finally:
        os._exit(code)  # whatever happened, no frame of the zygote runs on in this process


def run_checker(
    limits: dict[str, Any],
    fds: Sequence[int],
    user: int,
    start: Callable[[dict[str, Any], Sequence[int]], NoReturn],
) -> NoReturn:
    """Continue as a checker: test code needs no namespaces of its own, as it may not start or write anything."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in fds]
        if limits["isolated"]:
            if user != os.geteuid():
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            kernel.drop_capabilities()
        start(limits, fds[1:])
    finally:
        os._exit(1)


def answer(fd: int, code: int, usage: resource.struct_rusage, limits: dict[str, Any]) -> None:
    """Report how a checker ended, signed with its run's nonce, and close its control socket."""
    with socket.socket(fileno=fd) as control, contextlib.suppress(OSError):
        nonce = control.recv(_NONCE, socket.MSG_DONTWAIT)
        cpu_s = usage.ru_utime + usage.ru_stime
        killed = "cpu" if -code == signal.SIGXCPU or cpu_s > limits["cpu_s"] else ""
        report = {"nonce": nonce.decode(), "code": code, "killed": killed, "cpu_s": cpu_s, "waited_s": 0.0}
        control.sendall(json.dumps(report).encode())


def _confine(limits: dict[str, Any]) -> None:
    if not limits["isolated"]:
        os.setsid()
        work = os.environ["HOME"] = os.environ["TMPDIR"] = os.path.join(limits["directory"], "work")
        os.mkdir(work)
        os.chdir(work)
        if _LINUX:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    options = f"size={limits['disk_bytes']},nr_inodes=4096,mode=700"
    kernel.mount("box", BOX, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "subset=pid")
    os.mkdir(WORK, 0o700)
    os.chdir(WORK)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def _watch(program: int, control: socket.socket, limits: dict[str, Any]) -> dict[str, object]:
    """Wait for the program, within its limits: exit code (negative: signal), seconds, and who ended it."""
    started = time.monotonic()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        poll.register(os.pidfd_open(program), select.POLLIN)
    meter = _Meter(program, limits["isolated"])
    written = limits["output_bytes"] + _SLACK
    killed, ended = "", None
    while ended is None:
        for fd, _ in poll.poll(1000 * _TICK_S):
            if fd == control.fileno():
                _kill_all(program, limits["isolated"])  # nobody waits for the result any more
                os._exit(1)
        ended = _reap(program)
        if ended is None and not killed:
            meter.read()
            elapsed = time.monotonic() - started
            if meter.cpu_s > limits["cpu_s"]:
                killed = "cpu"
            elif meter.memory > limits["memory_bytes"] and meter.own_memory() > limits["memory_bytes"]:
                killed = "memory"
            elif elapsed > limits["wall_s"]:
                killed = "wall"
            elif os.fstat(4).st_size > written or os.fstat(5).st_size > written:
                killed = "output_limit"
            if killed:
                _kill_all(program, limits["isolated"])
    code, usage = ended
    _kill_all(program, limits["isolated"])
    cpu_s = max(meter.cpu_s, usage.ru_utime + usage.ru_stime)
    if not killed and (cpu_s > limits["cpu_s"] or -code == signal.SIGXCPU):
        killed = "cpu"
    return {"code": code, "killed": killed, "cpu_s": cpu_s, "waited_s": meter.waited_s}


def _reap(program: int) -> tuple[int, resource.struct_rusage] | None:
    """Collect what has ended, orphans included; the program's exit code and usage if it is among them."""
    ended = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == program:
                ended = os.waitstatus_to_exitcode(status), usage
    return ended


def _kill_all(program: int, isolated: bool) -> None:
    if isolated:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    while _LINUX:  # this process adopts orphans: kill generation after generation
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(pid) for pid in file.read().split()]
        if not [pid for pid in children if _kill_and_reap(pid, pid != program)]:
            break


def _kill_and_reap(pid: int, reap: bool) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    if reap:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return reap


class _Meter:
    """What a program and its descendants use: CPU seconds, bytes of memory, seconds waiting for a core."""

    def __init__(self, program: int, isolated: bool) -> None:
        self.program, self.isolated = program, isolated
        self.cpu_s = self.waited_s = 0.0
        self.memory = 0
        self.pids: list[str] = []
        self.baseline = 0 if not _LINUX else _stat("self")[1]

    def read(self) -> None:
        """Measure now. A process that ends between two readings counts where its parent waited for it."""
        if not _LINUX:
            return
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"] if self.isolated else []
        self.pids = pids
        cpu_s = memory = waited_s = 0.0
        for pid in pids or [str(self.program)]:
            with contextlib.suppress(OSError):
                used, resident = _stat(pid)
                cpu_s += used
                memory += max(0, resident - self.baseline)
                with open(f"/proc/{pid}/schedstat") as file:
                    waited_s += int(file.read().split()[1]) / 1e9
        if self.isolated:
            orphans = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s += orphans.ru_utime + orphans.ru_stime
        self.cpu_s, self.memory = max(self.cpu_s, cpu_s), int(memory)
        if len(pids) <= _CORES:  # a crowd waits for its own
            self.waited_s = max(self.waited_s, waited_s)


    def own_memory(self) -> int:
        """Resident bytes, with pages that a few forked processes share counted once: a pool of workers has many."""
        if not 1 < len(self.pids) <= _FEW:
            return self.memory
        try:
            return sum(map(_proportional, self.pids))
        except PermissionError:  # one shows nothing
            return self.memory


def _proportional(pid: str) -> int:
    """Resident bytes, each page divided by the processes that map it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    except (ProcessLookupError, FileNotFoundError):
        return _stat(pid)[1] if os.path.exists(f"/proc/{pid}") else 0  # it has ended, or its first thread has


def _stat(pid: str) -> tuple[float, int]:
    """CPU seconds, waited-for children included, and resident bytes."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    if len(fields) < 22:
        raise OSError(errno.ESRCH, f"process {pid} is gone")
    resident = int(fields[21])
    if fields[0] == b"Z" and int(fields[17]) > 1:  # the first thread has ended and shows no memory; the others have it
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/statm", "rb") as statm:
                resident = max(resident, int(statm.read().split()[1]))
    return sum(map(int, fields[11:15])) / _TICKS, resident * _PAGE
