"""The fork server inside a box: a pristine interpreter that forks each program into fresh namespaces.

It never reads a job: descriptors pass through it unopened, so that no program inherits memory which held
another's source, input or result. It runs no code from outside the package.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import socket
import sys
from typing import Any

from domino_lightning.execution.sandbox.inside import kernel
from domino_lightning.execution.sandbox.inside.init import UID, answer, run_checker, run_init
from domino_lightning.execution.sandbox.inside.modes import start_program
from domino_lightning.execution.sandbox.inside.program import prepare

HEADER = 512  # bytes of every request
MAX_FDS = 16


class _Running:
    """A process that has not been reaped.

    Attributes:
        life: the descriptor whose closing says that it is gone, with all that it started.
        user: its outer user.
        control: of a checker, which has no first process to answer for it; else None.
        limits: of the job.
    """

    def __init__(self, life: int, user: int, control: int | None, limits: dict[str, Any]) -> None:
        self.life, self.user, self.control, self.limits = life, user, control, limits


def serve(control: socket.socket, settings: dict[str, Any]) -> None:
    """Fork what the parent asks for until it closes the control socket.

    A job is a program, in fresh namespaces under a first process of its own (`init.py`), or a checker: test code,
    which gets a user of its own, no descendants and nothing to write to, and for which this process answers.

    Args:
        control: requests come in as `HEADER` bytes (marshal of the limits) with descriptors: the life line,
            the control socket of the job, and what `start_program` takes.
        settings: `isolated`, `users` (outer ids to choose from; one that is this process's own means that
            none can be dropped to), `modules` to import beforehand.
    """
    prepare(settings["modules"])
    with contextlib.suppress(PermissionError):
        os.setgroups([])
    if settings["isolated"]:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # where no user can be dropped to, a checker has this one's
    running: dict[int, _Running] = {}
    free = list(settings["users"])
    wake, woken = os.pipe()
    for fd in (wake, woken):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for name in [name for name in sys.modules if name.startswith("domino_lightning")]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    control.sendall(marshal.dumps({"version": sys.version, "prefix": sys.base_prefix}).ljust(HEADER, b"\0"))
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        for pid, job in running.items():
            if job.control in ready:  # the parent hung up
                poll.unregister(job.control)
                os.kill(pid, signal.SIGKILL)
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(running, free, poll)
        if control.fileno() in ready:
            data, fds, _, _ = socket.recv_fds(control, HEADER, MAX_FDS)
            if len(data) < HEADER:
                os._exit(0)
            limits = marshal.loads(data)
            user = free.pop() if len(free) > 1 else free[0]
            try:
                pid = _fork(limits, fds, user, settings["isolated"])
                running[pid] = _Running(fds.pop(0), user, fds.pop(0) if limits["checker"] else None, limits)
                hung_up = running[pid].control
                if hung_up is not None:
                    poll.register(hung_up, 0)
            except OSError as error:
                os.write(fds[0], str(error).encode())
            finally:
                for fd in fds:
                    os.close(fd)


def _reap(running: dict[int, _Running], free: list[int], poll: select.poll) -> None:
    """Close the life lines of what has ended; an ended first process means that its namespace is empty."""
    while running:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            break
        job = running.pop(pid, None)
        if job is None:
            continue
        if job.control is not None:
            with contextlib.suppress(KeyError):
                poll.unregister(job.control)
            answer(job.control, os.waitstatus_to_exitcode(status), usage, job.limits)
        os.close(job.life)
        if job.user not in free:
            free.append(job.user)


def _fork(limits: dict[str, Any], fds: list[int], user: int, isolated: bool) -> int:
    limits["isolated"] = isolated
    if limits["checker"] or not isolated:
        pid = os.fork()
        if pid == 0:
            if limits["checker"]:
                run_checker(limits, fds[1:], user, start_program)
            run_init(limits, fds[1:], start_program)
        return pid
    gate, opened = os.pipe()
    try:
        pid = kernel.clone(kernel.ALL_NAMESPACES)
        if pid == 0:
            try:
                os.close(opened)
                if os.read(gate, 1) == b"1":
                    run_init(limits, fds[1:], start_program)
            finally:
                os._exit(1)
        _map_user(pid, user)
        os.write(opened, b"1")
        return pid
    finally:
        os.close(gate)
        os.close(opened)


def _map_user(pid: int, user: int) -> None:
    """Give the namespace one user and one group; what it owns outside is `user`."""
    own = user == os.geteuid()
    with open(f"/proc/{pid}/setgroups", "w") as file:
        file.write("deny")
    for name, outer in (("uid_map", user), ("gid_map", os.getegid() if own else user)):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(f"{UID} {outer} 1")
