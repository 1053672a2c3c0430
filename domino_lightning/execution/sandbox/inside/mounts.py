"""Our own box where bubblewrap is not used: new namespaces, and a root that holds only what the layout names."""

from __future__ import annotations

import os
import signal
from typing import Any

from domino_lightning.execution.sandbox.inside import kernel

_BASE = "/tmp"  # any directory: it is covered in this process's mount namespace alone
_OLD = "/.old"


def enter_box(layout: dict[str, Any]) -> None:
    """Continue as the first process of a new set of namespaces, on a new root.

    Raises:
        OSError: the kernel refuses.
    """
    user, group = os.geteuid(), os.getegid()
    flags = kernel.ALL_NAMESPACES
    if layout["privileged"]:
        flags &= ~kernel.NEWUSER
    kernel.unshare(flags)
    if not layout["privileged"]:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:  # wait in the old pid namespace, and pass on how the box ended
        os.closerange(3, 1 << 16)  # the box ends when the parent hangs up, whichever of its threads opened it
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _new_root(layout)


def _new_root(layout: dict[str, Any]) -> None:
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("box", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir(_BASE + _OLD)
    kernel.pivot_root(_BASE, _BASE + _OLD)
    os.chdir("/")
    for path in layout["directories"]:
        os.makedirs(path, 0o755, exist_ok=True)
    for source, target in layout["binds"]:
        _bind(_OLD + source, target)
    for name in layout["devices"]:
        _touch(f"/dev/{name}")
        kernel.mount(f"{_OLD}/dev/{name}", f"/dev/{name}", None, kernel.MS_BIND)
    for path in layout["hidden"]:
        kernel.mount("none", path, "tmpfs", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV, "size=4k,mode=755")
    for target, points_to in layout["links"]:
        os.symlink(points_to, target)
    mount_proc()
    kernel.detach(_OLD)
    os.rmdir(_OLD)
    kernel.remount_read_only("/")


def mount_proc() -> None:
    """A whole /proc of this pid namespace; without one the kernel lets no inner namespace mount its own."""
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def _bind(source: str, target: str) -> None:
    if os.path.exists(target):
        kernel.bind_read_only(source, target)
        return
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        _touch(target)
    kernel.bind_read_only(source, target)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
