"""The first process of a program's pid namespace: mounts, drops privileges, watches, and reports how it ended.

It forks the program and afterwards reads the run's nonce, so that the program's memory never held it. It is
not dumpable and immune to signals from inside its namespace; when it exits, the kernel kills what is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from domino_lightning.execution.sandbox.inside import kernel
from domino_lightning.execution.sandbox.inside.meter import LINUX, CpuClock, Meter, reaped_s

BOX = "/box"  # what a program may write to
WORK = f"{BOX}/work"  # where it starts; its source lies beside
UID = 1000  # inside; outside it is a number of its own per running program
_TICK_S = 0.02  # on average; a program that knew the next one could hide from it
_NONCE = 32
_SLACK = 1 << 16  # of the channel, beyond the value; and of what the parent tells apart by itself


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
        clock = None
        with contextlib.suppress(OSError):
            clock = CpuClock()  # the program closes what it inherits, and can't disable what it doesn't own
        program = os.fork()
        if program == 0:
            start(limits, fds[1:])
        kept = [fds[0], fds[3], fds[5]]  # control, standard output, channel
        if clock is not None:
            kept.append(fcntl.fcntl(clock.fd, fcntl.F_DUPFD, 20))
            clock.fd = 2 + len(kept)
        for target, fd in enumerate(kept, start=3):
            os.dup2(fd, target)
        os.closerange(3 + len(kept), 1 << 16)
        control = socket.socket(fileno=3)
        nonce = control.recv(_NONCE, socket.MSG_WAITALL)
        if len(nonce) == _NONCE:
            control.sendall(json.dumps({"nonce": nonce.decode(), **_watch(program, control, limits, clock)}).encode())
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
        if LINUX:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    options = f"size={limits['disk_bytes']},nr_inodes=4096,mode=700"
    # Not executable: the kernel takes its clock away from a process that executes a file which its user can't read.
    kernel.mount("box", BOX, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "subset=pid")
    os.mkdir(WORK, 0o700)
    os.chdir(WORK)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def _watch(program: int, control: socket.socket, limits: dict[str, Any], clock: CpuClock | None) -> dict[str, object]:
    """Wait for the program, within its limits: exit code (negative: signal), seconds, and who ended it."""
    started = time.monotonic()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        poll.register(os.pidfd_open(program), select.POLLIN)
    meter = Meter(program, limits["isolated"], clock)
    written = limits["output_bytes"] + _SLACK
    killed, ended = "", None
    while ended is None:
        for fd, _ in poll.poll(1000 * _TICK_S * (0.5 + os.urandom(1)[0] / 255)):
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
    _reap_all()
    cpu_s = max(meter.cpu_s, usage.ru_utime + usage.ru_stime, reaped_s(), 0.0 if clock is None else clock.read())
    if not killed and (cpu_s > limits["cpu_s"] or -code == signal.SIGXCPU):
        killed = "cpu"
    return {"code": code, "killed": killed, "cpu_s": cpu_s, "waited_s": meter.waited_s, "clock": clock is not None}


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


def _reap_all() -> None:
    """Wait for what was killed, so that its time counts."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _kill_all(program: int, isolated: bool) -> None:
    if isolated:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    while LINUX:  # this process adopts orphans: kill generation after generation
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
