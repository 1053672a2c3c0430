"""Linux system calls that Python 3.11 has no function for, through ctypes; x86-64 and AArch64."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

NEWNS, NEWUTS, NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
NEWUSER, NEWPID, NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
NEWCGROUP, NEWTIME = 0x0200_0000, 0x80
ALL_NAMESPACES = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_SET_CHILD_SUBREAPER = 36

_SIGCHLD = 17
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
MACHINE = platform.machine()
_CLONE, _CAPSET, _PIVOT_ROOT = {"x86_64": (56, 126, 155), "aarch64": (220, 91, 41)}.get(MACHINE, (0, 0, 0))
_MOUNT_SETATTR = 442
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}.get(MACHINE, 0)
_PERF_ATTRIBUTES = 64  # bytes: the first version of the structure, which every kernel takes
_SOFTWARE, _TASK_CLOCK = 1, 1
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6  # the last two let ordinary users have it

# PyDLL keeps the interpreter's lock: `clone` must not give it up half-way.
_libc = ctypes.PyDLL(None, use_errno=True)
_word = ctypes.c_ulong


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def clone(flags: int) -> int:
    """`os.fork` into new namespaces: the child's id in the parent, 0 in the child.

    Raises:
        OSError: the kernel refuses.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(_CLONE, _word(flags | _SIGCHLD), _word(0), _word(0), _word(0), _word(0)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def unshare(flags: int) -> None:
    """Move this process into new namespaces (its children, for a pid namespace)."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        _word(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {kind or 'bind'} on {target}")


def bind_read_only(source: str, target: str) -> None:
    """Bind a file or directory, with what is mounted below it, read-only, without set-user-id and devices."""
    mount(source, target, None, MS_BIND | MS_REC)
    attributes = (ctypes.c_uint64 * 4)(MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)
    path = os.fsencode(target)
    if _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, ctypes.byref(attributes), _word(32)) == 0:
        return
    flags = os.statvfs(target).f_flag & (MS_NODEV | MS_NOSUID | MS_NOEXEC)  # before Linux 5.12
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | flags)


def remount_read_only(target: str) -> None:
    """Make a mount that exists read-only."""
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _checked(_libc.syscall(_PIVOT_ROOT, os.fsencode(new), os.fsencode(old)), "pivot_root")


def detach(target: str) -> None:
    """Unmount lazily."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def prctl(option: int, argument: int, pointer: object = None) -> None:
    """prctl(2) with up to two arguments."""
    second = _word(0) if pointer is None else pointer
    _checked(_libc.prctl(option, _word(argument), second, _word(0), _word(0)), f"prctl {option}")


def drop_capabilities() -> None:
    """Give up every capability, for good once no-new-privs is set."""
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    empty = (ctypes.c_uint32 * 6)()
    _checked(_libc.syscall(_CAPSET, ctypes.byref(header), ctypes.byref(empty)), "capset")


def open_cpu_clock() -> int:
    """A descriptor that counts this process's time on a core, with that of all it starts from here on.

    Each 8 bytes read are nanoseconds so far, user and system. Whether anybody waits for a child makes no difference.

    Raises:
        OSError: the kernel has no such counter, or none for this user (`kernel.perf_event_paranoid` above 2).
    """
    if not _PERF_EVENT_OPEN:
        raise OSError(errno.ENOSYS, f"perf_event_open: not known on {MACHINE}")
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    attributes = struct.pack("=IIQQQQQ", _SOFTWARE, _PERF_ATTRIBUTES, _TASK_CLOCK, 0, 0, 0, flags)
    here, any_core, alone = 0, -1, -1
    arguments = attributes.ljust(_PERF_ATTRIBUTES, b"\0"), here, any_core, alone, _word(0)
    return _checked(int(_libc.syscall(_PERF_EVENT_OPEN, *arguments)), "perf_event_open")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def set_seccomp_filter(instructions: bytes) -> None:
    """Install a BPF filter (8 bytes an instruction) on this process and its children."""
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(program))
