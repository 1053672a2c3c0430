"""The system calls that programs do not get, as a BPF filter.

A deny list, not an allow list: namespaces, the dropped user and missing capabilities are the walls, and the
filter takes away kernel interfaces that those walls rest on or that hold memory which no limit counts.
"""

from __future__ import annotations

import errno
import struct

from domino_lightning.execution.sandbox.inside.kernel import (
    MACHINE,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWTIME,
    NEWUSER,
    NEWUTS,
)

_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
# Name → (x86-64, AArch64); None where the machine has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "syslog": (103, 116), "acct": (163, 89),
    "quotactl": (179, 60), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "vhangup": (153, 58),
    # Memory that belongs to no process:
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "vmsplice": (278, 75), "splice": (275, 76), "tee": (276, 77),  # pages held by a pipe
    "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
_CHECKER: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "socket": (41, 198), "socketpair": (53, 199),
}  # fmt: skip
_CLONE_THREAD = 0x10000
# Allowed on the calling process alone (first argument 0): the process that watches has the same user.
_OWN: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
}  # fmt: skip
_SECOND_TOO = ("setpriority", "ioprio_set")  # which kind of id comes first, and 0 is a process only for one of them
_CLONE3 = 435
_MMAP, _MADVISE = {"x86_64": (9, 28), "aarch64": (222, 233)}.get(MACHINE, (0, 0))
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_MADV_COLD, _MADV_PAGEOUT = 20, 21
_CLONE, _SOCKET = {"x86_64": (56, 41), "aarch64": (220, 198)}.get(MACHINE, (0, 0))
_NAMESPACES = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWCGROUP | NEWTIME
_AF_UNIX = 1

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERRNO = 0x8000_0000, 0x7FFF_0000, 0x0005_0000


def build_filter(checker: bool = False) -> bytes:
    """The filter of this machine; empty where its call numbers are not known.

    Args:
        checker: for test code, which may also start no process, signal none and open no socket.
    """
    if MACHINE not in _AUDIT_ARCH:
        return b""
    column = 0 if MACHINE == "x86_64" else 1
    lines = [_line(_LOAD, 4), _line(_EQUAL, _AUDIT_ARCH[MACHINE], 1, 0), _line(_RETURN, _KILL), _line(_LOAD, 0)]
    if MACHINE == "x86_64":  # the x32 calls are another way to the same functions
        lines += [_line(_AT_LEAST, 0x4000_0000, 0, 1), _line(_RETURN, _KILL)]
    for numbers in [*_DENIED.values(), *(_CHECKER.values() if checker else ())]:
        number = numbers[column]
        if number is not None:
            lines += [_line(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    for name, pair in _OWN.items():
        checked = [_line(_LOAD, 16), _line(_EQUAL, 0, 1, 0), _refuse(errno.EPERM)]
        if name in _SECOND_TOO:
            checked += [_line(_LOAD, 24), _line(_EQUAL, 0, 1, 0), _refuse(errno.EPERM)]
        lines += [_line(_EQUAL, pair[column], 0, len(checked) + 1), *checked, _line(_RETURN, _ALLOW)]
    # Anonymous shared memory stays when no process shows it as resident any more; what is swapped out shows nowhere.
    lines += [_line(_EQUAL, _MMAP, 0, 5), _line(_LOAD, 40), _line(_ANY_BIT, _MAP_SHARED, 0, 2)]
    lines += [_line(_ANY_BIT, _MAP_ANONYMOUS, 0, 1), _refuse(errno.EPERM), _line(_RETURN, _ALLOW)]
    lines += [_line(_EQUAL, _MADVISE, 0, 5), _line(_LOAD, 32), _line(_EQUAL, _MADV_COLD, 1, 0)]
    lines += [_line(_EQUAL, _MADV_PAGEOUT, 0, 1), _refuse(errno.EPERM), _line(_RETURN, _ALLOW)]
    lines += [_line(_EQUAL, _CLONE3, 0, 1), _refuse(errno.ENOSYS)]  # glibc then calls clone, whose flags show
    if checker:
        lines += [_line(_EQUAL, _CLONE, 0, 3), _line(_LOAD, 16), _line(_ANY_BIT, _CLONE_THREAD, 1, 0)]
        lines += [_refuse(errno.EPERM), _line(_LOAD, 0)]
    lines += [_line(_EQUAL, _CLONE, 0, 4), _line(_LOAD, 16), _line(_ANY_BIT, _NAMESPACES, 0, 1)]
    lines += [_refuse(errno.EPERM), _line(_RETURN, _ALLOW)]
    lines += [_line(_EQUAL, _SOCKET, 0, 3), _line(_LOAD, 16), _line(_EQUAL, _AF_UNIX, 1, 0)]
    lines += [_refuse(errno.EAFNOSUPPORT), _line(_RETURN, _ALLOW)]
    return b"".join(lines)


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _line(_RETURN, _ERRNO | number)
