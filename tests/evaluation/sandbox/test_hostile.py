"""Programs that want a pass they have not earned, or do harm: none passes, none leaves anything behind.

Each is a wrong answer with a trick (or a right one that does not end cleanly), for one of three problems:
print twice the input, return twice the argument, and the same under assertions.
"""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from domino_lightning.domains.base import Verdict
from domino_lightning.domains.codegen_grading import grade_completion
from domino_lightning.evaluation.judging import Rules
from domino_lightning.evaluation.sandbox.limits import Limits

PRINT = [{"type": "stdin", "input": "21\n", "output": "42\n"}, {"type": "stdin", "input": "4\n", "output": "8\n"}]
RETURN = [{"type": "functional", "input": "21", "output": "42"}, {"type": "functional", "input": "4", "output": "8"}]
ASSERT = [{"type": "assert", "code": "assert f(21) == 42\nassert f(4) == 8"}]
CHECK = [{"type": "assert", "code": "def check(candidate):\n    assert candidate(21) == 42\n\ncheck(f)"}]
LISTS = [{"type": "assert", "code": "assert f([3, 1, 2]) == [1, 2, 3]\nassert f([]) == []"}]
FLOATS = [{"type": "assert", "code": "assert abs(f(2) - 1.4142135) < 1e-6"}]

DEFINE = "\ndef f(x):\n    return x\n"  # an honest wrong answer after the trick
RIGHT = "\ndef f(x):\n    return 2 * x\n"
EVERY_FD = """
import os
def shout(data):
    for fd in range(0, 64):
        try: os.write(fd, data)
        except OSError: pass
"""
EQUAL = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0.0
    def __len__(self): return 3
    def __iter__(self): return iter([Liar()] * 3)
    def __getitem__(self, key): return Liar()
    def __getattr__(self, name): return Liar()
    def __call__(self, *args): return Liar()
"""


class Hostile(NamedTuple):
    tests: list[dict[str, str]]
    program: str
    statuses: tuple[str, ...]


def hostile(tests: list[dict[str, str]], program: str, *statuses: str) -> Hostile:
    return Hostile(tests, program, statuses)


PROGRAMS = {
    # Exits before or after the answer.
    "exits with success before any test": hostile(ASSERT, "import os\nos._exit(0)", "crashed"),
    "exits with success inside the call": hostile(ASSERT, "import os\ndef f(x): os._exit(0)", "crashed"),
    "raises SystemExit(0) at load": hostile(ASSERT, "raise SystemExit(0)", "error"),
    "raises SystemExit(0) inside the call": hostile(RETURN, "def f(x): raise SystemExit(0)", "error"),
    "sys.exit inside an assertion's call": hostile(CHECK, "import sys\ndef f(x): sys.exit()", "error"),
    "prints nothing and exits with success": hostile(PRINT, "exit(0)", "failed"),
    "right answer, exit code 3": hostile(PRINT, "print(int(input()) * 2)\nraise SystemExit(3)", "error"),
    "right answer, then killed": hostile(
        PRINT, "import os\nprint(int(input()) * 2, flush=True)\nos.kill(os.getpid(), 9)", "crashed"
    ),
    "replaces the process image": hostile(
        ASSERT, "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])" + DEFINE, "crashed"
    ),
    "a handler at exit changes the code": hostile(
        RETURN, "import atexit, os\natexit.register(os._exit, 5)" + RIGHT, "error"
    ),
    "a handler at exit changes the code of a served program": hostile(
        ASSERT, "import atexit, os\natexit.register(os._exit, 5)" + RIGHT, "error"
    ),
    "a thread that never ends": hostile(
        PRINT, "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\nprint(int(input())*2)",
        "timeout",
    ),
    "a thread that never ends after a call": hostile(
        RETURN, "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()" + RIGHT, "timeout"
    ),
    "a thread exits with success while the call runs": hostile(
        RETURN, "import os, threading, time\nthreading.Timer(0.05, os._exit, (0,)).start()\ndef f(x): time.sleep(9)",
        "crashed",
    ),
    # Forged output.
    "writes a report on every descriptor": hostile(
        RETURN, EVERY_FD + "shout(b'{\"nonce\":\"0\",\"status\":\"value\",\"value\":42}')" + DEFINE, "crashed"
    ),
    "writes passed everywhere and exits": hostile(
        ASSERT, EVERY_FD + "shout(b'{\"status\":\"passed\"}')\nos._exit(0)", "crashed", "error"
    ),
    "finds the nonce and claims to be served": hostile(
        ASSERT,
        EVERY_FD + "import gc, json\n"
        "for o in gc.get_objects():\n"
        "    if type(o) is dict and 'entry_point' in o or type(o) is tuple and len(o) == 1: pass\n"
        "def cells():\n"
        "    for o in gc.get_objects():\n"
        "        for cell in getattr(o, '__closure__', None) or ():\n"
        "            try: v = cell.cell_contents\n"
        "            except ValueError: continue\n"
        "            if type(v) is str and len(v) == 32: yield v\n"
        "for nonce in set(cells()):\n"
        "    os.write(3, json.dumps({'nonce': nonce, 'status': 'served'}).encode())\n"
        "os._exit(0)",
        "crashed", "error",
    ),
    "answers the checker by itself": hostile(
        ASSERT,
        "import os\n"
        "for reply in (b'{\"v\":{\"f\":{\"h\":[0,\"function\"]}}}', b'{\"v\":true}', b'{\"v\":true}'):\n"
        "    os.write(4, b'%016x' % len(reply) + reply)\nos._exit(0)",
        "failed", "crashed",
    ),
    "garbage for the checker": hostile(ASSERT, "import os\nos.write(4, b'x' * 1000)" + RIGHT, "crashed", "error"),
    "a message to the checker without end": hostile(
        ASSERT, "import os\nos.write(4, b'%016x' % (1 << 60))\nwhile True: os.write(4, b'1' * 65536)",
        "crashed", "timeout", "error",
    ),
    "an endless answer": hostile(
        ASSERT, "def f(x):\n    def g():\n        while True: yield 1\n    return g()", "failed", "error", "timeout", "memory"
    ),
    "prints PASSED": hostile(PRINT, "print('PASSED')\nprint('OK')", "failed"),
    "prints the answer among others": hostile(PRINT, "for i in range(100): print(i)", "failed"),
    "closes every descriptor": hostile(ASSERT, "import os\nos.closerange(0, 999)" + RIGHT, "crashed", "error"),
    "closes every descriptor before it returns": hostile(
        RETURN, "import os\ndef f(x):\n    os.closerange(0, 999)\n    return 2 * x", "crashed"
    ),
    "puts a file where the channel was": hostile(
        RETURN, "import os\nos.close(3)\nopen('x', 'w')" + RIGHT, "crashed"
    ),
    # Expected values and the grader's own memory.
    "looks for the expected value in every frame and object": hostile(
        RETURN,
        "import gc, sys\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for v in list(frame.f_locals.values()):\n"
        "            if isinstance(v, (list, dict)) and ('42' in v or 42 in v): return 42\n"
        "        frame = frame.f_back\n"
        "    for o in gc.get_objects():\n"
        "        try:\n"
        "            if isinstance(o, dict) and o.get('output') == '42': return 42\n"
        "        except Exception: pass\n"
        "    return 0",
        "failed",
    ),
    "reads the expected value off the test's frame": hostile(
        CHECK,
        "import sys\n"
        "def f(x):\n"
        "    frame = sys._getframe(1)\n"
        "    while frame:\n"
        "        if 42 in frame.f_code.co_consts: return 42\n"
        "        frame = frame.f_back\n"
        "    return 0",
        "failed",
    ),
    "scans its memory for the test's source": hostile(
        ASSERT,
        "import re\n"
        "def f(x):\n"
        "    for line in open('/proc/self/maps'):\n"
        "        span, mode = line.split()[:2]\n"
        "        if not mode.startswith('rw'): continue\n"
        "        low, high = (int(n, 16) for n in span.split('-'))\n"
        "        try:\n"
        "            with open('/proc/self/mem', 'rb', 0) as file:\n"
        "                file.seek(low); data = file.read(min(high - low, 1 << 24))\n"
        "        except (OSError, OverflowError, ValueError): continue\n"
        "        found = re.search(rb'assert f\\(%d\\) ' % x + rb'== (\\d+)', data)\n"
        "        if found: return int(found[1])\n"
        "    return 0",
        "failed", "memory",
    ),
    "reads grader and problem files": hostile(
        PRINT,
        "import glob, os\n"
        "for root in ('/work', '/home', '/root', '/tmp', '/site', '/var', '/etc', '/proc/1'):\n"
        "    for folder, _, files in os.walk(root):\n"
        "        for name in files:\n"
        "            try:\n"
        "                if b'\"output\": \"42' in open(os.path.join(folder, name), 'rb').read(1 << 16): print(42)\n"
        "            except OSError: pass",
        "failed",
    ),
    "imports the grader": hostile(
        ASSERT, "import domino_lightning.evaluation.judging as j\nj.same_value = lambda *a: True" + DEFINE, "error"
    ),
    "patches what it finds of the grader in memory": hostile(
        ASSERT,
        "import gc, types\n"
        "for o in gc.get_objects():\n"
        "    if type(o) is types.FunctionType and 'inside' in o.__code__.co_filename:\n"
        "        try: o.__code__ = (lambda *a, **k: {'status': 'passed'}).__code__\n"
        "        except ValueError: pass" + DEFINE,
        "crashed", "error", "failed",
    ),
    # Objects that lie.
    "equal to everything": hostile(RETURN, EQUAL + "def f(x): return Liar()", "error"),
    "equal to everything, asserted": hostile(ASSERT, EQUAL + "def f(x): return Liar()", "failed"),
    "equal to every list": hostile(LISTS, EQUAL + "def f(x): return Liar()", "failed"),
    "a list of liars": hostile(LISTS, EQUAL + "def f(x): return [Liar() for _ in x]", "failed"),
    "near every number": hostile(FLOATS, EQUAL + "def f(x): return Liar()", "error", "failed"),
    "an int that lies": hostile(
        ASSERT, "class I(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(x): return I(0)",
        "failed",
    ),
    "a str that lies": hostile(
        RETURN, "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(x): return S('42')",
        "failed",
    ),
    "a list that lies": hostile(
        LISTS, "class L(list):\n    def __eq__(self, o): return True\ndef f(x): return L()", "failed"
    ),
    "a dict that lies": hostile(
        RETURN, "class D(dict):\n    def __eq__(self, o): return True\ndef f(x): return D()", "failed"
    ),
    "not a number": hostile(FLOATS, "def f(x): return float('nan')", "failed"),
    "true for one": hostile(
        [{"type": "functional", "input": "1", "output": "1"}], "def f(x): return True", "failed"
    ),
    "overwrites the argument that the test compares with": hostile(
        [{"type": "assert", "code": "x = [3, 1, 2]\nassert f(x) == sorted([3, 1, 2])"}],
        "def f(x):\n    x[:] = [0]\n    return x", "failed",
    ),
    # Patched machinery.
    "patches builtins": hostile(
        ASSERT, "import builtins\nbuiltins.AssertionError = Warning\nbuiltins.isinstance = lambda *a: True" + DEFINE,
        "failed", "crashed", "error",
    ),
    "patches json": hostile(
        RETURN,
        "import json\njson.loads = lambda *a, **k: 21\njson.dumps = lambda *a, **k: '42'\n"
        "json.JSONEncoder.encode = lambda *a: '42'" + DEFINE, "failed", "crashed",
    ),
    "patches repr, type and len": hostile(
        RETURN, "import builtins\nbuiltins.repr = builtins.type = builtins.len = lambda *a: 42" + DEFINE,
        "failed", "crashed", "error",
    ),
    "traces the harness": hostile(
        ASSERT,
        "import sys, threading\n"
        "def trace(frame, event, arg):\n"
        "    if event == 'return' and 'inside' in frame.f_code.co_filename:\n"
        "        frame.f_locals['report'] = {'status': 'passed'}\n"
        "    return trace\n"
        "sys.settrace(trace)\nsys.setprofile(trace)\nsys._getframe(1).f_trace = trace" + DEFINE,
        "failed",
    ),
    "an exception that cannot be printed": hostile(
        ASSERT,
        "class E(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\ndef f(x): raise E",
        "error",
    ),
    "an exception that never ends": hostile(
        RETURN, "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef f(x): raise E", "timeout"
    ),
    "recursion without end": hostile(RETURN, "def f(x): return f(x)", "error", "crashed", "memory", "timeout"),
    "a value without end": hostile(RETURN, "def f(x):\n    x = []\n    x.append(x)\n    return x", "output_limit"),
    "a value that doubles sixty times": hostile(
        RETURN, "def f(x):\n    x = [1]\n    for _ in range(60): x = [x, x]\n    return x",
        "output_limit", "memory", "timeout",
    ),
    "a message as long as a book": hostile(RETURN, "def f(x): raise ValueError('x' * 10**7)", "error"),
    "no Python at all": hostile(ASSERT, "def f(x:\n    return 42", "error"),
    "a source that nests too deep": hostile(ASSERT, "x = " + "(" * 5000 + ")" * 5000, "error"),
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
    "asks for a terabyte": hostile(RETURN, "def f(x): return bytearray(1 << 40)", "memory"),
    "maps shared memory": hostile(
        PRINT,
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 24)\n    m.write(b'x' * (1 << 24))\n    x.append(m)",
        "memory", "error",
    ),
    "fills the disk": hostile(
        PRINT,
        "for i in range(10**6):\n    with open(str(i), 'wb') as file: file.write(b'x' * (8 << 20))", "error", "memory"
    ),
    "fills the disk with names": hostile(PRINT, "for i in range(10**6): open(str(i), 'w').close()", "error"),
    "prints without end": hostile(PRINT, "while True: print('x' * 9999)", "output_limit"),
    "prints without end inside a call": hostile(ASSERT, "def f(x):\n    while True: print('x' * 9999)", "output_limit"),
    "complains without end": hostile(PRINT, "import sys\nwhile True: sys.stderr.write('x' * 9999)", "timeout"),
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
        "for folder in ('/', '/usr', '/usr/lib', '/site', '/proc', '/dev', '/etc', '/root', sys.prefix, os.__file__):\n"
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
    # Text.
    "prints what is not UTF-8": hostile(PRINT, "import sys\nsys.stdout.buffer.write(b'42\\xff\\n')", "failed"),
    "prints lone surrogates": hostile(PRINT, "print('\\ud800')", "error"),
    "returns lone surrogates": hostile(RETURN, "def f(x): return '\\udcff'", "failed"),
    "raises lone surrogates": hostile(RETURN, "def f(x): raise ValueError('\\udcff\\n\\r\\0')", "error"),
    "null bytes in the source": hostile(ASSERT, "def f(x):\n    return '\x00'", "error"),
    "an integer as long as a book": hostile(RETURN, "def f(x): return 10 ** 100_000", "failed"),
}  # fmt: skip


def verdict(case: Hostile, tier: str, limits: Limits) -> Verdict:
    record: dict[str, Any] = {"entry_point": None if case.tests is PRINT else "f", "tests": case.tests}
    return grade_completion(record, case.program, None, Rules(limits, tier))


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_no_hostile_program_passes(case: Hostile, tier: str, limits: Limits) -> None:
    found = verdict(case, tier, limits)
    assert not found.passed
    assert found.status in case.statuses, found
    assert found.tier == tier
    assert len(found.detail) < 1000
    assert found.detail.isprintable()
    assert found.wall_s < 60
    assert verdict(hostile(ASSERT, RIGHT), tier, limits).passed  # the sandbox is as good as before


def test_a_right_answer_passes_each_of_the_problems(tier: str, limits: Limits) -> None:
    """Without this, a sandbox that fails everything would pass the suite."""
    for tests in (RETURN, ASSERT, CHECK):
        assert verdict(hostile(tests, RIGHT), tier, limits).passed
    assert verdict(hostile(PRINT, "print(2 * int(input()))"), tier, limits).passed
    assert verdict(hostile(LISTS, "f = sorted"), tier, limits).passed
    assert verdict(hostile(FLOATS, "def f(x): return x ** 0.5"), tier, limits).passed


def test_there_are_many(tier: str) -> None:
    assert len(PROGRAMS) >= 50


def test_nothing_is_left_behind(tier: str, limits: Limits) -> None:
    """Daemons, files and namespaces of a hostile program end with its verdict, not some time later."""
    program = (
        "import os, time\n"
        "open('left', 'w').write('x')\n"
        "for _ in range(5):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        if not os.fork(): time.sleep(600)\n"
        "        os._exit(0)\n"
    )
    before, files = processes(), set(Path("/tmp").iterdir())
    assert verdict(hostile(PRINT, program), tier, limits).status == "failed"
    assert processes() <= before
    assert {path.name for path in set(Path("/tmp").iterdir()) - files if path.name.startswith("domino")} == set()


def processes() -> set[int]:
    """Descendants of this process that run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    found = {os.getpid()}
    for _ in range(10):
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def test_a_killed_grader_takes_its_sandbox_with_it(tier: str, tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    script = (
        "import os, sys\n"
        "from domino_lightning.evaluation.sandbox.execute import execute\n"
        "from domino_lightning.evaluation.sandbox.limits import Limits\n"
        "job = {'mode': 'program', 'implicit': False,\n"
        "       'code': 'import os, time\\nos.setsid() if not os.fork() else 0\\ntime.sleep(600)'}\n"
        "execute([job], Limits(timeout_s=600), tier=sys.argv[1])\n"
    )
    root = Path(__file__).resolve().parents[3]
    grader = subprocess.Popen([sys.executable, "-c", script, tier], cwd=root)
    try:
        assert _eventually(lambda: len(below(grader.pid)) >= 5)  # fork server, init, program, its child
        left = below(grader.pid)
    finally:
        grader.send_signal(signal.SIGKILL)
        grader.wait()
    assert _eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def below(root: int) -> set[int]:
    found = {root}
    for _ in range(6):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in found:
                        found.add(int(entry.name))
                except OSError:
                    continue
    return found - {root}


def _eventually(condition: Any) -> bool:
    deadline = time.monotonic() + 30
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(held)


def test_test_code_is_confined_too(tier: str, limits: Limits) -> None:
    """Tests may be a model's as well: theirs is a user without files, children, signals or network."""
    attempts = (
        "os.fork()",
        "os.kill(1, 9)",
        "os.kill(os.getppid(), 9)",
        "os.execv('/proc/self/exe', ['x'])",
        "os.mkdir('/box/x')",
        "os.listdir('/work')",
        "os.setuid(0)",
        "socket.socket(socket.AF_UNIX)",
        "io.FileIO(f'/proc/{os.getppid()}/mem', 'r+')",
    )
    for attempt in attempts:
        test = f"import io, os, socket\ntry:\n    {attempt}\nexcept OSError:\n    pass\nelse:\n    assert 0\nassert f(1) == 2"
        case = hostile([{"type": "assert", "code": test}], RIGHT)
        assert verdict(case, tier, limits).passed, attempt
    for test, status in (("while True: f(1)", "timeout"), ("bytearray(1 << 40)", "memory")):
        assert verdict(hostile([{"type": "assert", "code": test}], RIGHT), tier, limits).status == status
    forever = hostile([{"type": "assert", "code": "while True: pass"}], RIGHT)
    assert verdict(forever, tier, limits).status == "timeout"
    assert verdict(hostile(ASSERT, RIGHT), tier, limits).passed
