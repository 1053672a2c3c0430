"""Programs that take all time, processes, memory or disk there is, up to their limits."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from domino_lightning.execution.sandbox.inside import kernel
from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import ASSERT, PRINT, RETURN, Hostile, hostile, require_failure, verdict

PROGRAMS = {
    # Time.
    "an endless loop": hostile(PRINT, "while True: pass", "timeout"),
    "catches everything for ever": hostile(
        RETURN, "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout",
    ),
    "sleeps": hostile(PRINT, "import time\ntime.sleep(999)", "timeout"),
    "stops itself": hostile(PRINT, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "blocks every signal and loops": hostile(
        PRINT,
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: pass",
        "timeout",
    ),
    "lifts its own limits and loops": hostile(
        PRINT,
        "import resource, signal\nsignal.setitimer(signal.ITIMER_PROF, 0)\n"
        "for r in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC):\n"
        "    try: resource.setrlimit(r, (-1, -1))\n"
        "    except (ValueError, OSError): pass\n"
        "while True: pass",
        "timeout",
    ),
    "works in children": hostile(
        PRINT, "import os\nfor _ in range(3):\n    if not os.fork():\n        while True: pass\nos.wait()", "timeout"
    ),
    "waits for input that never comes": hostile(PRINT, "import os\nr, w = os.pipe()\nos.read(r, 1)", "timeout"),
    # Processes.
    "leaves a daemon that answers later": hostile(
        PRINT,
        "import os, time\nif not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        "    time.sleep(0.5)\n    print(42, flush=True)\n    time.sleep(99)",
        "failed",
    ),
    "stops and kills all that it can see": hostile(
        PRINT,
        "import os, signal\n"
        "for pid in (-1, 1, os.getppid(), 0):\n"
        "    for s in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):\n"
        "        if pid == 0 or pid == -1 and s == signal.SIGSTOP: continue\n"
        "        try: os.kill(pid, s)\n"
        "        except OSError: pass",
        "failed", "crashed",
    ),
    "forks without end": hostile(
        PRINT, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "timeout", "memory"
    ),
    "starts threads without end": hostile(
        PRINT,
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "error", "timeout",
    ),
    # Memory, disk and output.
    "takes all memory": hostile(PRINT, "x = []\nwhile True: x.append(bytearray(1 << 20))", "memory"),
    "takes all memory in children": hostile(
        PRINT,
        "import os, time\nfor _ in range(8):\n    if not os.fork():\n        x = b'x' * (60 << 20)\n        time.sleep(99)\n"
        "time.sleep(99)",
        "memory",
    ),
    "takes all memory and catches that": hostile(
        RETURN,
        "def f(x):\n    x = []\n    while True:\n        try: x.append(bytearray(1 << 22))\n        except MemoryError: pass",
        "memory", "timeout",
    ),
    "takes all memory after its first thread has ended": hostile(
        PRINT,
        "import ctypes, os, threading, time\n"
        "def grow():\n"
        "    x = []\n"
        "    for _ in range(30):\n"
        "        x.append(b'1' * (20 << 20))\n"
        "        time.sleep(0.03)\n"
        "    os.write(1, b'42')\n"
        "    os._exit(0)\n"
        "threading.Thread(target=grow).start()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)",
        "memory",
    ),
    "asks for a terabyte": hostile(RETURN, "def f(x): return bytearray(1 << 40)", "memory"),
    "maps shared memory": hostile(
        PRINT,
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 24)\n    m.write(b'x' * (1 << 24))\n    x.append(m)",
        "memory", "error",
    ),
    "maps shared memory and lets go of it": hostile(
        PRINT,
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 24)\n    m.write(b'x' * (1 << 24))\n    m.madvise(4)\n    x.append(m)",
        "memory", "error",
    ),
    "fills sockets": hostile(
        PRINT,
        "import os, socket, time\n"
        "for _ in range(3): os.fork()\n"
        "x = []\n"
        "for _ in range(240):\n"
        "    pair = socket.socketpair()\n"
        "    x.append(pair)\n"
        "    pair[0].setblocking(False)\n"
        "    try:\n"
        "        while True: pair[0].send(b'x' * 65536)\n"
        "    except OSError: pass\n"
        "time.sleep(99)",
        "memory",
    ),
    "fills the disk": hostile(
        PRINT,
        "for i in range(10**6):\n    with open(str(i), 'wb') as file: file.write(b'x' * (8 << 20))", "error", "memory"
    ),
    "fills the disk with names": hostile(PRINT, "for i in range(10**6): open(str(i), 'w').close()", "error"),
    "prints without end": hostile(PRINT, "while True: print('x' * 9999)", "output_limit"),
    "prints without end inside a call": hostile(ASSERT, "def f(x):\n    while True: print('x' * 9999)", "output_limit"),
    "complains without end": hostile(PRINT, "import sys\nwhile True: sys.stderr.write('x' * 9999)", "timeout"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)


FORKS = "import os, signal, time, ctypes\n{0}\nwhile True:\n    if not os.fork():\n        end = time.process_time() + {1}\n        while time.process_time() < end: pass\n        os._exit(0)\n    try: os.wait()\n    except ChildProcessError: pass\n"
IGNORED = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
NOT_KEPT = (
    "class Action(ctypes.Structure): _fields_ = [('handler', ctypes.c_void_p), ('mask', ctypes.c_ulong * 16), "
    "('flags', ctypes.c_int), ('restorer', ctypes.c_void_p)]\n"
    "ctypes.CDLL(None).sigaction(17, ctypes.byref(Action(flags=2)), None)"  # SA_NOCLDWAIT
)
CHILDREN = {
    "that are waited for": FORKS.format("", 0.02),
    "that nobody need wait for": FORKS.format(IGNORED, 0.05),
    "that live shorter than it takes to look": FORKS.format(IGNORED, 0.004),
    "that leave nothing to wait for": FORKS.format(NOT_KEPT, 0.02),
    "of children that have gone": (
        "import os, signal, time\n"
        "while True:\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "        if not os.fork():\n"
        "            end = time.process_time() + 0.02\n"
        "            while time.process_time() < end: pass\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    time.sleep(0.01)\n"
    ),
}


HIDDEN = {
    "among many that are waited for": (
        "import os, signal, time\n"
        "while True:\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_DFL)\n"
        "    for _ in range(40):\n"
        "        if not os.fork(): os._exit(0)\n"
        "        os.wait()\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    if not os.fork():\n"
        "        end = time.process_time() + 0.03\n"
        "        while time.process_time() < end: pass\n"
        "        os._exit(0)\n"
        "    try: os.wait()\n"
        "    except ChildProcessError: pass\n"
    ),
    "that put the kernel's counters off": FORKS.format(f"ctypes.CDLL(None).prctl(31, 0, 0, 0, 0)\n{IGNORED}", 0.02),
    "that put their own counters off": FORKS.format(IGNORED, 0.02).replace(
        "        end", "        ctypes.CDLL(None).prctl(31, 0, 0, 0, 0)\n        end"
    ),
    # A process that executes a file which it may not read is one that nobody may watch.
    "that execute what they can't read": (
        "import os, shutil, signal, sys, time\n"
        "shutil.copy(os.readlink('/proc/self/exe'), 'unreadable')\n"
        "os.chmod('unreadable', 0o111)\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "while True:\n"
        "    if not os.fork():\n"
        "        try: os.execv('unreadable', ['unreadable', '-ISc', 'for _ in range(10**6): pass'])\n"
        "        finally: os._exit(1)\n"
        "    try: os.wait()\n"
        "    except ChildProcessError: pass\n"
    ),
}


def require_cpu_timeout(program: str, tier: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "wall_s", 60.0)  # a busy machine must not let the wall clock come first
    found = verdict(hostile(PRINT, program), tier, limits)
    assert (found.status, found.trust) == ("timeout", "parent")
    assert "CPU" in found.detail


@pytest.mark.slow
@pytest.mark.parametrize("program", CHILDREN.values(), ids=CHILDREN)
def test_the_time_of_children_counts(program: str, tier: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    require_cpu_timeout(program, tier, limits, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("program", HIDDEN.values(), ids=HIDDEN)
def test_the_time_of_hidden_children_counts_where_the_kernel_gives_a_clock(
    program: str, tier: str, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        os.close(kernel.open_cpu_clock())
    except OSError as error:
        pytest.skip(str(error))
    require_cpu_timeout(program, tier, limits, monkeypatch)


WITHOUT_CLOCK = """
import ctypes, sys
from domino_lightning.execution.sandbox.inside import kernel, seccomp
refused = [(seccomp._LOAD, 0), (seccomp._EQUAL, kernel._PERF_EVENT_OPEN, 0, 1), (seccomp._RETURN, seccomp._ERRNO | 1)]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.set_seccomp_filter(b"".join(seccomp._line(*line) for line in [*refused, (seccomp._RETURN, seccomp._ALLOW)]))
try:
    kernel.open_cpu_clock()
except PermissionError:
    pass
else:
    sys.exit("the kernel still gives its clock")
import os
import subprocess
import sys

import pytest
sys.exit(pytest.main([*sys.argv[1:], "-q", "-m", "", "-p", "no:cacheprovider", "-o", "log_cli=true", "-o", "log_cli_level=WARNING"]))
"""


@pytest.mark.slow
def test_the_time_of_children_counts_without_the_kernels_clock() -> None:
    """As on hosts whose perf_event_paranoid is above 2."""
    test = f"{__file__}::{test_the_time_of_children_counts.__name__}"
    done = subprocess.run([sys.executable, "-c", WITHOUT_CLOCK, test], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("gives programs no clock that counts all their descendants") == 1
