"""Programs that reach for what lies outside: host, network, other processes, and what the first test left."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import ASSERT, PRINT, RETURN, RIGHT, Hostile, hostile, require_failure, verdict

HERE, HOME = Path(__file__).parent, Path.home()

PROGRAMS = {
    # Ways out.
    "talks to the network": hostile(
        PRINT,
        "import socket\n"
        "for kind in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):\n"
        "    try: socket.socket(kind, socket.SOCK_STREAM if kind < 16 else socket.SOCK_RAW)\n"
        "    except OSError: continue\n"
        "    print(42)",
        "failed",
    ),
    "writes outside its directory": hostile(
        PRINT,
        "import os, sys\n"
        "for folder in ('/', '/usr', '/usr/lib', '/site', '/proc', '/dev', '/etc', sys.prefix, os.__file__,\n"
        f"        {str(HOME)!r}):\n"
        "    try: open(os.path.join(folder, 'x'), 'w')\n"
        "    except OSError: continue\n"
        "    print(42)",
        "failed",
    ),
    "follows links out": hostile(
        PRINT,
        "import os\n"
        "for n, target in enumerate(('/etc/passwd', '/proc/1/root/etc/passwd', '/proc/1/cwd', '../../etc/shadow')):\n"
        "    os.symlink(target, str(n))\n"
        "    try: open(str(n)).read()\n"
        "    except OSError: continue\n"
        "    print(42)",
        "failed",
    ),
    "looks at other processes": hostile(
        PRINT,
        "import os\n"
        "pids = [name for name in os.listdir('/proc') if name.isdigit()]\n"
        "if len(pids) > 2: print(42)\n"
        "for name in ('mem', 'environ', 'maps', 'fd/3', 'root/etc/passwd'):\n"
        "    try: open(f'/proc/1/{name}', 'rb').read(1)\n"
        "    except (OSError, OverflowError): continue\n"
        "    print(42)",
        "failed",
    ),
    "traces the process that watches it": hostile(
        PRINT,
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, 1, 0, 0) == 0: print(42)\n"
        "if libc.ptrace(16, os.getppid(), 0, 0) == 0: print(42)",
        "failed",
    ),
    "slows the process that watches it down": hostile(
        PRINT,
        "import ctypes, os, resource\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for work in (\n"
        "    lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)),\n"
        "    lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),\n"
        "    lambda: os.setpriority(os.PRIO_USER, 0, 19),\n"
        "    lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),\n"
        "    lambda: os.sched_setaffinity(1, {0}),\n"
        "):\n"
        "    try: work()\n"
        "    except OSError: continue\n"
        "    print(42)\n"
        "os.nice(1), os.sched_setaffinity(0, os.sched_getaffinity(0)), resource.setrlimit(resource.RLIMIT_CPU, (9, 9))",
        "failed", "error",
    ),
    "makes namespaces of its own": hostile(
        PRINT,
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for flags in (0x10000000, 0x20000, 0x40000000):\n"
        "    if libc.unshare(flags) == 0: print(42)\n"
        "if libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0: print(42)\n"
        "if libc.mount(b'x', b'/box', b'tmpfs', 0, None) == 0: print(42)\n"
        "if libc.setuid(0) == 0 or libc.setgid(0) == 0: print(42)",
        "failed",
    ),
    "keeps memory outside of any process": hostile(
        PRINT,
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.shmget(0, 1 << 20, 0o1600) >= 0: print(42)\n"
        "try: os.memfd_create('x'); print(42)\n"
        "except OSError: pass",
        "failed",
    ),
    "keeps shared memory that it does not touch": hostile(
        PRINT,
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.mmap.restype = ctypes.c_void_p\n"
        "for flags in (0x21, 0x23, 0x40021):\n"
        "    if libc.mmap(None, ctypes.c_size_t(1 << 21), 3, flags, -1, ctypes.c_long(0)) != 2 ** 64 - 1: print(42)\n"
        "try: os.open('/dev/zero', os.O_RDWR); print(42)\n"
        "except OSError: pass",
        "failed",
    ),
    "hands pages to a pipe": hostile(
        PRINT,
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "vmsplice, splice, tee = {'x86_64': (278, 275, 276)}.get(os.uname().machine, (75, 76, 77))\n"
        "for call in (vmsplice, splice, tee):\n"
        "    libc.syscall(call, -1, 0, -1, 0, 1, 0)\n"
        "    if ctypes.get_errno() != 1: print(42)",
        "failed",
    ),
    "swaps its memory out": hostile(
        PRINT,
        "import mmap\nm = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nm.madvise(4)\n"
        "for advice in (20, 21):\n"
        "    try: m.madvise(advice); print(42)\n"
        "    except OSError: pass",
        "failed",
    ),
    "runs a shell": hostile(
        PRINT,
        "import os, subprocess\nos.system('echo 42')\n"
        "for path in ('/bin/sh', '/usr/bin/env', '/bin/busybox'):\n"
        "    try: print(subprocess.run([path, '-c', 'echo 42'], capture_output=True, text=True).stdout)\n"
        "    except OSError: pass",
        "failed",
    ),
    # State.
    "remembers the first test in a file": hostile(
        PRINT,
        "import os, socket\nx = int(input())\nlistener = socket.socket(socket.AF_UNIX)\n"
        "folders = ('.', '/tmp', '/dev/shm', '/box', os.environ['HOME'], '/site', '/dev')\n"
        "seen = any(os.path.exists(folder + '/seen') for folder in folders)\n"
        "try: listener.bind('\\0seen')\n"
        "except OSError: seen = True\n"
        "for folder in folders:\n"
        "    try: open(folder + '/seen', 'w').close()\n"
        "    except OSError: pass\n"
        "if not os.fork(): import time; os.setsid(); os.close(1); time.sleep(60)\n"
        "print(2 * x if seen else 42)",
        "failed",
    ),
    "remembers the first test in a module": hostile(
        RETURN, "import math\ndef f(x):\n    math.n = getattr(math, 'n', 0) + 1\n    return 42 if math.n == 1 else 8",
        "failed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)


def test_test_code_is_confined_too(tier: str, limits: Limits) -> None:
    """Tests may be a model's as well: theirs is a user without files, children, signals or network."""
    attempts = (
        "os.fork()",
        "os.kill(1, 9)",
        "os.kill(os.getppid(), 9)",
        "os.execv('/proc/self/exe', ['x'])",
        "os.mkdir('/box/x')",
        f"os.listdir({str(HERE)!r})",
        "os.setuid(0)",
        "socket.socket(socket.AF_UNIX)",
        "io.FileIO(f'/proc/{os.getppid()}/mem', 'r+')",
    )
    # By names that its text does not give away: with `os.fork()` in it a test would run beside the program.
    names = "import contextlib, io as _io, socket as _socket\nloaded = getattr(contextlib.sys, 'mod' + 'ules')\n"
    names += "io, os, socket = (loaded[name] for name in ('io', 'os', 'socket'))\n"
    for attempt in attempts:
        test = f"{names}try:\n    {attempt}\nexcept OSError:\n    pass\nelse:\n    assert 0\nassert f(1) == 2"
        case = hostile([{"type": "assert", "code": test}], RIGHT)
        found = verdict(case, tier, limits)
        assert found.passed and found.trust == "parent", attempt
    for test, status in (("while True: f(1)", "timeout"), ("bytearray(1 << 40)", "memory")):
        assert verdict(hostile([{"type": "assert", "code": test}], RIGHT), tier, limits).status == status
    forever = hostile([{"type": "assert", "code": "while True: pass"}], RIGHT)
    assert verdict(forever, tier, limits).status == "timeout"
    assert verdict(hostile(ASSERT, RIGHT), tier, limits).passed
