"""Programs that mean well, in every way that contest programs are written: all of them pass."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from domino_lightning.domains.codegen.grading import grade_completion
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.unit_test import Rules

LINES = "3\n1 2 3\n4 5 6\n7 8 9\n"
LARGE = "\n".join(map(str, range(200_000))) + "\n"


class Honest(NamedTuple):
    test: dict[str, str]
    program: str
    entry_point: str | None = None


def prints(given: str, wanted: str, program: str) -> Honest:
    return Honest({"type": "stdin", "input": given, "output": wanted}, program)


def returns(arguments: list[Any], wanted: Any, program: str) -> Honest:
    lines = "\n".join(json.dumps(argument) for argument in arguments)
    return Honest({"type": "functional", "input": lines, "output": json.dumps(wanted)}, program, "f")


def satisfies(test: str, program: str) -> Honest:
    return Honest({"type": "assert", "code": test}, program, "f")


PROGRAMS = {
    # Standard input.
    "input()": prints(LINES, "6\n15\n24", "for _ in range(int(input())): print(sum(map(int, input().split())))"),
    "for line in sys.stdin": prints(LINES, "45", "import sys\nnext(sys.stdin)\nprint(sum(sum(map(int, l.split())) for l in sys.stdin))"),
    "sys.stdin.read": prints(LINES, "10", "import sys\nprint(len(sys.stdin.read().split()))"),
    "sys.stdin.readline as input": prints(LINES, "3", "import sys\ninput = sys.stdin.readline\nprint(int(input()))"),
    "sys.stdin.buffer": prints(LINES, "48", "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))"),
    "sys.stdin.readlines": prints(LINES, "4", "import sys\nprint(len(sys.stdin.readlines()))"),
    "open(0)": prints(LINES, "10", "print(len(open(0).read().split()))"),
    "open(0) without closing": prints(LINES, "3 10", "print(*[f(x) for x in [open(0).read().split()] for f in (lambda x: x[0], len)])"),
    "os.read(0)": prints(LINES, "10", "import os\nprint(len(os.read(0, 10**6).split()))"),
    "os.read(0) of the file's size": prints(LINES, "10", "import os\nprint(len(os.read(0, os.fstat(0).st_size).split()))"),
    "/dev/stdin": prints(LINES, "10", "print(len(open('/dev/stdin').read().split()))"),
    "mmap of the input": prints(LINES, "10", "import mmap\nprint(len(mmap.mmap(0, 0, access=mmap.ACCESS_READ).read().split()))"),
    "fileinput": prints(LINES, "4", "import fileinput\nprint(sum(1 for _ in fileinput.input()))"),
    "a stream of one's own": prints(LINES, "10", "import io, os, sys\nsys.stdin = io.TextIOWrapper(io.BytesIO(os.read(0, 1 << 20)))\nprint(len(sys.stdin.read().split()))"),
    "until EOFError": prints("1\n2\n", "3", "s = 0\nwhile True:\n    try: s += int(input())\n    except EOFError: break\nprint(s)"),
    "large input": prints(LARGE, "19999900000", "import sys\nprint(sum(map(int, sys.stdin)))"),
    "input never read": prints(LARGE, "1", "print(1)"),
    # Standard output.
    "large output": prints("", LARGE, "for i in range(200000): print(i)"),
    "sys.stdout.write": prints("", "1\n2", "import sys\nsys.stdout.write('\\n'.join(['1', '2']))"),
    "sys.stdout.buffer": prints("", "é", "import sys\nsys.stdout.buffer.write('é'.encode())"),
    "/dev/stdout": prints("", "1", "open('/dev/stdout', 'w').write('1')"),
    "os.write": prints("", "1", "import os\nos.write(1, b'1')"),
    "a flood on standard error": prints("", "1", "import sys\nfor _ in range(3000): print('x' * 1000, file=sys.stderr)\nprint(1)"),
    "print replaced": prints("", "1 2", "import sys\ndef print(*a): sys.stdout.write(' '.join(map(str, a)) + '\\n')\nprint(1, 2)"),
    "output at exit": prints("", "1\n2", "import atexit\natexit.register(print, 2)\nprint(1)"),
    "output when an object goes": prints("", "1\n2", "class A:\n    def __del__(self): print(2)\na = A()\nprint(1)"),
    "spaces and blank lines at the ends": prints("", "1 2\n3", "print('\\n 1 2  \\n3 \\n\\n')"),
    "numbers written otherwise": prints("", "1.50 2", "print('1.5  2.0')"),
    "LiveCodeBench's stdin and stdout": prints(LINES, "3", "stdout.write(stdin.readline())"),
    "a stream of one's own left open": prints("", "1", "out = open(1, 'w')\nout.write('1')"),
    "buffered bytes left open": prints("", "1", "import io\nout = io.BufferedWriter(io.FileIO(1, 'w'))\nout.write(b'1')"),
    "the first stdout after silencing": prints("", "1", "import os, sys\nsys.stdout = open(os.devnull, 'w')\nprint(2)\nsys.__stdout__.write('1')"),
    "a copy of stdout": prints("", "1", "import io, sys\nout = sys.stdout\nsys.stdout = io.StringIO()\nprint(2)\nout.write('1')"),
    "all output at exit": prints("", "1", "import atexit, io, sys\nsys.stdout = io.StringIO()\natexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(1)"),
    # The shape of programs.
    "main guard": prints("5", "5", "def main():\n    print(input())\nif __name__ == '__main__':\n    main()"),
    "global at module level": prints("", "2", "global n\nn = 1\ndef f():\n    global n\n    n += 1\nf()\nprint(n)"),
    "sys.exit in the middle": prints("", "1", "import sys\nprint(1)\nsys.exit()\nprint(2)"),
    "os._exit after a flush": prints("", "1", "import os\nprint(1, flush=True)\nos._exit(0)"),
    "a thread with a big stack": prints(
        "", "100000",
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 29)\n"
        "def depth(n): return 0 if n == 0 else 1 + max([depth(n - 1)])\n"
        "t = threading.Thread(target=lambda: print(depth(100000)))\nt.start()\nt.join()",
    ),
    "deep recursion": prints("", "40000", "def d(n): return n if n == 40000 else d(n + 1)\nprint(d(0))"),
    "limits raised": prints("", "1", "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, -1))\nsys.setrecursionlimit(1 << 25)\nprint(1)"),
    "a pool of threads": prints("", "45", "from concurrent.futures import ThreadPoolExecutor as P\nwith P(8) as p: print(sum(p.map(int, range(10))))"),
    "a pool of processes": prints("", "285", "from multiprocessing import Pool\ndef f(x): return x * x\nif __name__ == '__main__':\n    with Pool(2) as p: print(sum(p.map(f, range(10))))"),
    "children that share a large object": prints("", "1", "import os, time\nx = bytearray(b'1') * (150 << 20)\nfor _ in range(4):\n    if not os.fork():\n        time.sleep(0.2)\n        os._exit(x[0] - 49)\nprint(1 + sum(os.wait()[1] for _ in range(4)))"),
    "a temporary file": prints("", "x", "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n    f.write('x'); f.seek(0); print(f.read())"),
    "a child process": prints("", "2", "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1 + 1)'], capture_output=True, text=True).stdout)"),
    "a forked child that exits": prints("", "1\n0", "import os, sys\npid = os.fork()\nif not pid:\n    print(1)\n    sys.exit()\nprint(os.waitpid(pid, 0)[1])"),
    "__file__": prints("", "program.py", "import os\nprint(os.path.basename(__file__))"),
    "a byte order mark": prints("", "1", "\ufeffx = 1\nprint(x)"),
    "dataclasses and annotations": prints("", "P(x=1)", "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))"),
    "implicit imports": prints("", "3 2 [1, 2]", "print(gcd(3, 6), Counter('aab')['a'], list(accumulate([1, 1])))"),
    "numpy": prints("", "6", "import numpy as np\nprint(np.arange(4).sum())"),
    "decimal, fractions, bisect": prints("", "0.3 1/2 1", "from decimal import Decimal as D\nfrom fractions import Fraction as F\nimport bisect\nprint(D('.1') + D('.2'), F(2, 4), bisect.bisect([1, 2], 1))"),
    "async": prints("", "1", "import asyncio\nasync def f(): return 1\nprint(asyncio.run(f()))"),
    # Values.
    "a class Solution": returns([[3, 1]], [1, 3], "class Solution:\n    def f(self, xs: List[int]) -> List[int]:\n        return sorted(xs)"),
    "tuples for lists": returns([], [[1, 2], [3]], "def f(): return ((1, 2), (3,))"),
    "an integer for a float": returns([], 2.0, "def f(): return 2"),
    "a large integer": returns([], 10**40, "def f(): return 10**40"),
    "a dict": returns([], {"a": [1]}, "def f(): return defaultdict(list, a=[1])"),
    "a numpy scalar": returns([[1, 2]], 3, "import numpy as np\ndef f(x): return np.sum(x)"),
    "a str subclass": returns([], "a", "class S(str): pass\ndef f(): return S('a')"),
    "state between calls is gone": returns([1], 1, "n = 0\ndef f(x):\n    global n\n    n += x\n    return n"),
    "LeetCode's names": returns([[5, 1, 4]], 1, "def f(xs: List[int]) -> int:\n    heapify(xs)\n    return heappop(xs) if inf > 0 else None"),
    # Assertions.
    "a counter equals a dict": satisfies("assert f('aab') == {'a': 2, 'b': 1}", "from collections import Counter as f"),
    "tuples stay tuples": satisfies("assert f() == (1, 2)\nassert f() != [1, 2]", "def f(): return 1, 2"),
    "sets, bytes, complex": satisfies("assert f() == ({1}, b'a', 1j, frozenset(), range(3))", "def f(): return {1}, b'a', 1j, frozenset(), range(3)"),
    "a generator": satisfies("assert list(f()) == [1, 2]", "def f():\n    yield 1\n    yield 2"),
    "dict views": satisfies("assert sorted(f()) == [1, 2]", "def f(): return {2: 0, 1: 0}.keys()"),
    "nan": satisfies("import math\nassert math.isnan(f())", "def f(): return float('nan')"),
    "an argument changed in place": satisfies("xs = [2, 1]\nassert f(xs) is None\nassert xs == [1, 2]", "def f(xs): xs.sort()"),
    "the argument itself returned": satisfies("xs = [2, 1]\nassert f(xs) is xs", "def f(xs):\n    xs.sort()\n    return xs"),
    "an expected exception": satisfies("try:\n    f(-1)\nexcept ValueError as e:\n    assert 'neg' in str(e)\nelse:\n    assert False", "def f(x): raise ValueError('negative')"),
    "helpers and constants of the program": satisfies("assert g(f(2)) == LIMIT", "LIMIT = 5\ndef f(x): return x + 2\ndef g(x): return x + 1"),
    "an import of the program's": satisfies("assert math.isclose(f(), 3.14159, abs_tol=1e-4)", "import math\ndef f(): return math.pi"),
    "an object that is called like a module": satisfies("queue.push(1)\nassert queue.items == [1]", "class Q:\n    items = []\n    def push(self, x): self.items.append(x)\nqueue = Q()"),
    "an import of the test's": satisfies("import math\nassert f(4) == 2", "def f(x): return math.sqrt(x)"),
    "a function passed on": satisfies("def check(c):\n    assert c(2) == 4\ncheck(f)", "def f(x): return x * x"),
    "objects by their methods": satisfies("s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert len(s) == 1\nassert s.items == [1]", "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)"),
    "objects compared with each other": satisfies("assert P(1) == P(1)\nassert P(1) != P(2)\nassert str(P(3)) == 'P3'", "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\n    def __str__(self): return f'P{self.x}'"),
    "LeetCode's Solution": satisfies("assert Solution().f([1, 2]) == 3", "class Solution:\n    def f(self, xs): return sum(xs)"),
    "state within one test": satisfies("assert f() == 1\nassert f() == 2", "n = 0\ndef f():\n    global n\n    n += 1\n    return n"),
    "noise on both streams": satisfies("assert f() == 1", "import sys\nprint('loading')\ndef f():\n    print('called')\n    print('x' * 9999, file=sys.stderr)\n    return 1"),
    "named arguments": satisfies("assert f(1, b=2) == 3\nassert f(*[1], **{'b': 3}) == 4", "def f(a, *, b): return a + b"),
    "a guard in the test": satisfies("if __name__ == '__main__':\n    assert f() == 1", "def f(): return 1"),
    "built-ins hidden by the program": satisfies("assert list(f(3)) == [0, 1, 2]", "list = [1]\nfrom math import prod as sum\ndef f(n): return range(n)"),
    "a function that is called like a built-in": satisfies("x = 100\nassert sum(10, 15) == 6\nassert sum(x, 150) == 93", "def sum(a, b): return {10: 6, 100: 93}[a]"),
    "a parameter that is called like the function": satisfies("def check(f):\n    assert f(2) == 4\ncheck(f)\nassert [f(x) for x in range(2)] == [0, 2]", "def f(x): return 2 * x\nx = 3"),
    "a named argument changed in place": satisfies("xs = [2, 1]\nf(items=xs)\nassert xs == [1, 2]", "def f(items): items.sort()"),
    "a global variable changed by a call": satisfies("f(1)\nf(2)\ndef total(): return calls\nassert total() == 2\nassert log == [1, 2]", "calls, log = 0, []\ndef f(x):\n    global calls\n    calls += 1\n    log.append(x)"),
    "an exception's arguments": satisfies("try:\n    f({})\n    assert 0\nexcept KeyError as e:\n    assert e.args == ('x',)\n    assert str(e) == \"'x'\"", "def f(d): return d['x']"),
    "a generator without end": satisfies("from itertools import islice\nassert list(islice(f(), 250)) == list(range(250))\ng = f()\nassert next(g) == 0\nassert next(g) == 1", "import itertools\ndef f(): yield from itertools.count()"),
    "a long generator": satisfies("import types\ng = f(1000)\nassert isinstance(g, types.GeneratorType)\nassert sum(g) == 499500\nassert list(g) == []", "def f(n):\n    for i in range(n): yield i"),
    "an iterator class": satisfies("it = Count()\nassert next(it) == 1\nassert next(it) == 2\nassert next(it, None) is None\nassert list(Count()) == [1, 2]", "class Count:\n    n = 0\n    def __iter__(self): return self\n    def __next__(self):\n        self.n += 1\n        if self.n > 2: raise StopIteration\n        return self.n"),
    "operators on its own objects": satisfies("v = V(1) + V(2)\nassert v.x == 3\nassert V(1) < V(2) and V(2) >= V(1)\nv[0] = 7\nassert v.x == 7", "class V:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return V(self.x + o.x)\n    def __lt__(self, o): return self.x < o.x\n    def __le__(self, o): return self.x <= o.x\n    def __setitem__(self, k, v): self.x = v"),
    "the same object": satisfies("n = Node()\nassert f(n) is n\nassert f(n).next is n.next and n.next is not n", "class Node:\n    def __init__(self, deep=True): self.next = Node(False) if deep else None\ndef f(n): return n"),
    "as deep as the interpreter allows": satisfies("assert f(990) == 990", "def f(n): return n and 1 + f(n - 1)"),
    "subclasses of list and dict": satisfies("assert f() == [1, 2] and [1, 2] == f() and f() != [1]\nassert D(a=1) == {'a': 1}", "class L(list): pass\nclass D(dict): pass\ndef f(): return L([1, 2])"),
}  # fmt: skip

# Test code that needs the program's own classes or streams runs beside it.
SHARED = {
    "isinstance": satisfies("assert isinstance(f(), P)", "class P: pass\ndef f(): return P()"),
    "a subclass": satisfies("class Q(P): pass\nassert Q().x == 1", "class P:\n    x = 1"),
    "its own exception": satisfies("try:\n    f()\nexcept Bad:\n    pass\nelse:\n    assert 0", "class Bad(Exception): pass\ndef f(): raise Bad"),
    "a function as argument": satisfies("assert f(lambda x: x + 1, 1) == 2", "def f(g, x): return g(x)"),
    "a context manager": satisfies("with P() as x:\n    assert x == 1", "class P:\n    def __enter__(self): return 1\n    def __exit__(self, *a): pass"),
    "captured output": satisfies("import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    f()\nassert out.getvalue() == 'hi\\n'", "def f(): print('hi')"),
    "await": satisfies("import asyncio\nasync def main():\n    assert await f() == 1\nasyncio.run(main())", "async def f(): return 1"),
}  # fmt: skip


@pytest.fixture
def patient() -> Limits:
    return Limits(timeout_s=20, memory_mb=400, output_bytes=8 << 20)


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_honest_programs_pass(case: Honest, tier: str, patient: Limits) -> None:
    record = {"entry_point": case.entry_point, "tests": [case.test, case.test]}
    found = grade_completion(record, case.program, None, Rules(patient, tier))
    assert found._replace(wall_s=0) == (True, "passed", "", 0, tier, "parent")


@pytest.mark.parametrize("case", SHARED.values(), ids=SHARED)
def test_tests_that_need_the_programs_process_say_so(case: Honest, tier: str, patient: Limits) -> None:
    found = grade_completion({"entry_point": "f", "tests": [case.test]}, case.program, None, Rules(patient, tier))
    assert found._replace(wall_s=0) == (True, "passed", "", 0, tier, "shared")
    wrong = grade_completion({"entry_point": "f", "tests": [case.test]}, "def f(*a): return 0", None, Rules(patient, tier))
    assert not wrong.passed
