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


VEC = """
class Vec:
    def __init__(self, x, y): self.x, self.y = x, y
    def __eq__(self, o): return isinstance(o, Vec) and (self.x, self.y) == (o.x, o.y)
    def __hash__(self): return hash((self.x, self.y))
    def __neg__(self): return Vec(-self.x, -self.y)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def __add__(self, o): return Vec(self.x + o.x, self.y + o.y)
    def __radd__(self, o): return self if o == 0 else NotImplemented
    def __iadd__(self, o):
        self.x += o.x
        return self
    def __mul__(self, k): return Vec(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __matmul__(self, o): return self.x * o.x + self.y * o.y
    def __mod__(self, k): return Vec(self.x % k, self.y % k)
    def __and__(self, o): return Vec(self.x & o.x, self.y & o.y)
    def __divmod__(self, k): return Vec(self.x // k, self.y // k), self % k
    def __int__(self): return int(abs(self))
    def __index__(self): return self.x
    def __round__(self, n=0): return Vec(round(self.x, n), round(self.y, n))
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __delitem__(self, i): setattr(self, "xy"[i], 0)
    def __contains__(self, item): return item in (self.x, self.y)
    def __reversed__(self): return iter((self.y, self.x))
    def __format__(self, spec): return format(self.x, spec)
    def __lt__(self, o): return abs(self) < abs(o) if isinstance(o, Vec) else abs(self) < o
    @classmethod
    def unit(cls): return cls(1, 0)
"""
CAUGHT = "try:\n    f()\n    assert 0\nexcept Exception as err:\n    e = err\n"
DENIED = """
class Denied(PermissionError):
    def __init__(self, level):
        super().__init__("no")
        self.level = level
    def hint(self): return f"not {self.level}"
    def __str__(self): return "no!"
    def __repr__(self): return "D"
def f(): raise Denied(3)
def again(e): return e
"""
BAG = "class Bag:\n    def __init__(self, *a): self.a = a\n    def __contains__(self, x): return x in self.a"
ARRAY = "import numpy as np\ndef f(x): return np.array(x) * 2"
STREAM = "import asyncio, sys\nasync def main():\n    loop = asyncio.get_running_loop()\n    r = asyncio.StreamReader()\n    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(r), sys.stdin)\n"
DEEP = "def f(n):\n    x = {0}\n    for _ in range(n): x = {1}\n    return x"


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
    "asyncio's reader": prints(LINES, "4", STREAM + "    n = 0\n    while await r.readline(): n += 1\n    print(n)\nasyncio.run(main())"),
    "asyncio's reader and writer": prints("a\nb", "A\nB", STREAM + "    t, p = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)\n    w = asyncio.StreamWriter(t, p, r, loop)\n    while line := await r.readline(): w.write(line.upper())\n    await w.drain()\nasyncio.run(main())"),
    "a selector on the input": prints(LINES, "3", "import selectors, sys\ns = selectors.DefaultSelector()\ns.register(sys.stdin, 1)\ns.select()\nprint(sys.stdin.readline())"),
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
    "a pool that spawns": prints("", "14", "import multiprocessing as mp\ndef f(x): return x * x\nif __name__ == '__main__':\n    with mp.get_context('spawn').Pool(2) as p: print(sum(p.map(f, range(4))))"),
    "a pool behind a fork server": prints("", "5", "import multiprocessing as mp\ndef f(x): return x * x\nif __name__ == '__main__':\n    with mp.get_context('forkserver').Pool(1) as p: print(sum(p.map(f, range(3))))"),
    "a handler for children": prints("", "1", "import os, signal\nn = []\nsignal.signal(signal.SIGCHLD, lambda *a: n.append(1))\nif not os.fork(): os._exit(0)\nos.wait()\nprint(len(n))"),
    "children that nobody waits for": prints("", "1", "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(3):\n    if not os.fork(): os._exit(0)\nprint(1)"),
    "anonymous shared memory": prints("", "A", "import mmap, os\nm = mmap.mmap(-1, 8)\nif not os.fork():\n    m[0] = 65\n    os._exit(0)\nos.wait()\nprint(m[:1].decode())"),
    "a shared value": prints("", "2", "import multiprocessing as mp\ndef f(v): v.value += 2\nv = mp.Value('i', 0)\np = mp.Process(target=f, args=(v,))\np.start(); p.join()\nprint(v.value)"),
    "its own file": prints("", "2", "print(open(__file__).read().count('print'))"),
    "its own source": prints("", "def f(): return 1", "import inspect\ndef f(): return 1\nprint(inspect.getsource(f))"),
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
    "an array": returns([[1, 2], 2], [[2, 4], [1, 2]], "import numpy as np\ndef f(x, n): return np.array([x, x]) * np.array([[n], [1]])"),
    "arrays and scalars inside": returns([], {"a": [1.5], "b": [True, 2]}, "import numpy as np\ndef f(): return {'a': np.array([1.5]), 'b': [np.bool_(True), np.int8(2)]}"),
    "an array without items": returns([], [[], []], "import numpy as np\ndef f(): return np.zeros((2, 0))"),
    "lists deeper than a hundred": returns([179], eval("[" * 180 + "]" * 180), DEEP.format("[]", "[x]")),
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
    "one list in two places": satisfies("x, y = f()\nx[0].append(5)\nassert x[1] is x[0] and x[2] == ([5],) and y['k'] == [5] and y['a'][0] == 0\ny['a'][0] = 3\nassert x[3][0] == 3", "import numpy as np\ndef f():\n    r, a = [], np.zeros(2)\n    return [r, r, (r,), a], {'k': r, 'a': a}"),
    "one list in two places of the arguments": satisfies("row = [0]\nassert f([row] * 3, row) == 4 and row == [4]\na = b = [1]\ng(a, other=b)\nassert a == [1, 2]", "def f(rows, row):\n    for each in (*rows, row): each[0] += 1\n    return rows[0][0]\ndef g(x, other):\n    assert x is other\n    x.append(2)"),
    "what an argument holds, given back": satisfies("a, b = [1], [2]\nx = f([a, b], {'k': a})\nassert x[0] is a and x[1]['new'] is x[2] and a == [1, 9] and b == [2]\nx[0].append(3)\nassert a[-1] == 3", "def f(x, d):\n    d['k'].append(9)\n    d['new'] = [0]\n    return x[0], d, d['new']"),
    "what a row is replaced by": satisfies("old = [1]\nx = [old]\nassert f(x) is None and x == [[2]] and old == [1] and x[0] is not old", "def f(x): x[0] = [2]"),
    "a deque and a counter changed in place": satisfies("from collections import Counter, deque\nq, c = deque([1]), Counter('a')\nf(q, c)\nassert q == deque([1, 2]) and c == Counter('aab')", "def f(q, c):\n    q.append(2)\n    c.update('ab')"),
    "a default of a dict": satisfies("from collections import defaultdict\nd = defaultdict(list)\nassert f(d)['new'] == 0 and d == {'k': [1]} and d['x'] == []\nassert g()[5] == 7", "from collections import defaultdict\ndef f(d):\n    d['k'].append(1)\n    return defaultdict(int)\ndef g(): return defaultdict(lambda: 7)"),
    "lists in a tuple changed in place": satisfies("x = ([],)\nf(x)\nassert x == ([1],)", "def f(x): x[0].append(1)"),
    "an argument changed by a call that fails": satisfies("x = [[1]]\ntry:\n    list(f(x))\n    assert 0\nexcept ValueError: pass\nassert x == [[1], [2]]", "def f(x):\n    yield [0]\n    x.append([2])\n    raise ValueError"),
    "an iterator beside a list": satisfies("x = [1]\nassert list(f(x, iter(range(3)))) == [0, 1, 2] and x == [1, 5]", "def f(x, it):\n    x.append(5)\n    return (y for y in it)"),
    "one iterator in two places": satisfies("a, b = f()\nassert next(a) == 0 and next(b) == 1 and list(a) == [2] and list(b) == []", "def f():\n    it = iter(range(3))\n    return it, it"),
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
    "more classes than are told apart": satisfies("first = f(0)\nfor i in range(1, 1010): f(i)\nagain = f(0)\nassert type(again) is type(first) and again is not first\nassert type(first).__name__ == 'C0'", "kinds = [type(f'C{i}', (), {}) for i in range(1010)]\ndef f(i): return kinds[i]()"),
    "the same object": satisfies("n = Node()\nassert f(n) is n\nassert f(n).next is n.next and n.next is not n", "class Node:\n    def __init__(self, deep=True): self.next = Node(False) if deep else None\ndef f(n): return n"),
    "as deep as the interpreter allows": satisfies("assert f(990) == 990", "def f(n): return n and 1 + f(n - 1)"),
    "subclasses of list and dict": satisfies("assert f() == [1, 2] and [1, 2] == f() and f() != [1]\nassert D(a=1) == {'a': 1}", "class L(list): pass\nclass D(dict): pass\ndef f(): return L([1, 2])"),
    "variables called like what needs its process": satisfies("seed, stdout, flags = 1, 2, 3\nassert f(seed, stdout) == flags", "def f(a, b): return a + b"),
    # Objects under assertions.
    "operators of every kind": satisfies("v = Vec(3, 4)\nassert -v == Vec(-3, -4) and abs(v) == 5 and v @ Vec(1, 2) == 11\nassert v % 2 == Vec(1, 0) and v & Vec(1, 4) == Vec(1, 4) and int(v) == 5\nassert v * 3 == Vec(9, 12) == 3 * v and (v * 3).x == 9\nassert round(Vec(1.2, 1.8)) == Vec(1, 2) and [10, 20][Vec(1, 0)] == 20 and sum([v, v]) == Vec(6, 8)", VEC),
    "as set or dict keys": satisfies("assert len({Vec(1, 2), Vec(1, 2), Vec(2, 1)}) == 2\nassert {Vec(1, 2): 'a'}[Vec(1, 2)] == 'a'\nassert Vec(1, 2) in [Vec(1, 2)]", VEC),
    "the name of a class": satisfies("assert Vec.__name__ == 'Vec'\nassert f.__name__ == 'f'", VEC + "def f(): pass"),
    "copies": satisfies("import copy\nv = Vec(1, [2])\nw, u = copy.copy(v), copy.deepcopy(v)\nassert w is not v and w == v == u\nu.y.append(3)\nassert v.y == [2]", VEC),
    "del": satisfies("v = Vec(1, 2)\ndel v[1]\nassert v.y == 0\ndel v.x\nassert not hasattr(v, 'x')", VEC),
    "in place": satisfies("v = w = Vec(1, 2)\nv += Vec(1, 0)\nassert w is v and w.x == 2", VEC),
    "formats, orders, reversals": satisfies("assert f'{Vec(7, 1):03d}' == '007'\nassert sorted([Vec(3, 4), Vec(1, 0)])[0] == min(Vec(3, 4), Vec(1, 0)) == Vec(1, 0)\nassert list(reversed(Vec(1, 2))) == [2, 1]", VEC),
    "a class method and an operator": satisfies("assert Vec.unit() * 2 == Vec(2, 0)\nx, y = Vec.unit()\nassert (x, y) == (1, 0)", VEC),
    "an object in an object": satisfies("assert Vec(1, 2) in f()", VEC + BAG + "\ndef f(): return Bag(Vec(1, 2))"),
    "a generator that is sent to": satisfies("g = f()\nassert next(g) == 1\nassert g.send(4) == 8\ng.close()", "def f():\n    x = yield 1\n    yield 2 * x"),
    "a method called send": satisfies("b = Box()\nb.send(1)\nassert b.got == [1]", "class Box:\n    def __init__(self): self.got = []\n    def send(self, x): self.got.append(x)"),
    "named tuples": satisfies("assert f().x == 1\nassert f() == (1, 2)\nx, y = f()\nassert y == 2 and f()[1] == 2 and len(f()) == 2", "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)"),
    "members of an enumeration": satisfies("assert f(1) == 1 and f(1).name == 'RED' and Color(1) is Color.RED", "import enum\nclass Color(enum.IntEnum):\n    RED = 1\ndef f(x): return Color(x)"),
    "operators on what a subclass of list holds": satisfies("assert f() + [3] == [1, 2, 3] and 2 in f() and f().top() == 2 and f() < [1, 3]", "class L(list):\n    def top(self): return self[-1]\ndef f(): return L([1, 2])"),
    "lists deeper than a hundred, asserted": satisfies("x = []\nfor _ in range(600): x = [x]\nassert f(600) == x", DEEP.format("[]", "[x]")),
    "tuples and dicts as deep": satisfies("x = ()\nfor _ in range(300): x = ({0: x},)\nassert f(300) == x", DEEP.format("()", "({0: x},)")),
    # Arrays under assertions.
    "allclose": satisfies("import numpy as np\nassert np.allclose(f([1.0, 2.0]), [2.0, 4.0])\nassert not np.allclose(f([1.0]), [1.0])", ARRAY),
    "norm, array_equal, all": satisfies("import numpy as np\nassert np.linalg.norm(f([1, 2]) - np.array([2, 4])) < 1e-9\nassert np.array_equal(f([[1, 2]]), [[2, 4]])\nassert (f([1, 2]) == np.array([2, 4])).all()", ARRAY),
    "an array's methods": satisfies("x = f([[1, 2]])\nassert x.shape == (1, 2) and x.tolist() == [[2, 4]] and x.sum() == 6 and str(x.dtype) == 'int64'", ARRAY),
    "arrays of every type": satisfies("a, b, c, d, e = f()\nassert a[0] == [1] and b.any() and not b.all() and c[0] == 1j and list(d) == ['x', 'yy'] and str(e) == '2020-01-01'", "import numpy as np\ndef f(): return np.array([[1], 'a', None], dtype=object), np.array([True, False]), np.array([1j]), np.array(['x', 'yy']), np.datetime64('2020-01-01')"),
    "an array as argument, changed in place": satisfies("import numpy as np\nx = np.arange(3)\nassert f(x) is None\nassert x.tolist() == [0, 2, 4]", "def f(x): x *= 2"),
    "numpy that only the program imports": satisfies("assert np.allclose(f([1.0]), [2.0])", ARRAY),
    "an array of millions": satisfies("x = f()\nassert x.shape == (2000, 3000) and x.sum() == 3000 and x.flat[0] == 1", "import numpy as np\ndef f():\n    x = np.zeros((2000, 3000), 'u1')\n    x[0] = 1\n    return x"),
    "a matrix": satisfies("import numpy as np\nassert np.array_equal(f(), [[1, 2], [3, 4]]) and isinstance(f(), np.matrix) and (f() * f()).tolist() == [[7, 10], [15, 22]]", "import numpy as np\ndef f(): return np.matrix([[1, 2], [3, 4]])"),
    "an exception as value": satisfies("assert isinstance(f(), ValueError) and type(f()) is ValueError and str(f()) == 'x' and f().args == ('x',)", "def f(): return ValueError('x')"),
    "an exception of its own as value": satisfies("assert isinstance(f(), ValueError) and not isinstance(f(), KeyError) and str(f()) == 'x' and type(f()).__name__ == 'Bad'", "class Bad(ValueError): pass\ndef f(): return Bad('x')"),
    "attributes of an exception": satisfies("assert f().errno == 2 and isinstance(f(), FileNotFoundError)", "def f():\n    try: open('/none/here')\n    except OSError as e: return e"),
    "an exception that goes back": satisfies("assert f([f([])][0]) == '[KeyError(1)]'", "def f(x): return repr(x) if x else [KeyError(1)]"),
    "fields and methods of an exception of its own": satisfies(CAUGHT + "assert type(e).__name__ == 'Denied' and e.level == 3 and e.hint() == 'not 3' and e.args == ('no',) and str(e) == 'no!'\ne.level = 4\nassert e.hint() == 'not 4' and again(e) is e and repr(e) == 'D'", DENIED),
    "an exception of its own raised twice": satisfies("got = []\nfor _ in range(2):\n    try: again(0)\n    except Exception as e: got.append(e)\nassert got[0] is not got[1] and type(got[0]) is type(got[1]) and got[0] != got[1]", "class Bad(KeyError): pass\ndef again(x): raise Bad(x)"),
    "the cause of an exception": satisfies(CAUGHT + "assert type(e.__cause__) is KeyError and e.__cause__.args == ('k',) and e.__context__ is e.__cause__", "def f():\n    try: {}['k']\n    except KeyError as k: raise LookupError('x') from k"),
    "the cause of an exception of its own": satisfies(CAUGHT + "assert isinstance(e.__cause__, ArithmeticError) and e.__cause__.n == 5 and e.__context__.n == 5", "class A(ArithmeticError): n = 5\nclass B(Exception): pass\ndef f():\n    try: raise A\n    except A as a: raise B from a"),
    "an exception of the standard library": satisfies("import json, decimal\ntry:\n    f('{')\n    assert 0\nexcept json.JSONDecodeError as e:\n    assert isinstance(e, ValueError) and e.pos == 1 and e.doc == '{'\ntry:\n    g('x')\n    assert 0\nexcept decimal.InvalidOperation: pass\ntry:\n    h()\n    assert 0\nexcept json.JSONDecodeError as e:\n    assert type(e).__name__ == 'Mine' and e.at == 5", "import json, decimal\nclass Mine(json.JSONDecodeError): at = 5\nf, g = json.loads, decimal.Decimal\ndef h(): raise Mine('m', 'd', 0)"),
    "no cause": satisfies(CAUGHT + "assert e.__cause__ is None and isinstance(e.__context__, KeyError) and e.__suppress_context__", "def f():\n    try: {}['k']\n    except KeyError: raise ValueError from None"),
    "notes and fields of an exception": satisfies(CAUGHT + "assert e.__notes__ == ['n'] and e.filename == 'b' and e.extra == [1] and g(e) == [1]", "def f():\n    e = OSError(2, 'a', 'b')\n    e.add_note('n')\n    e.extra = [1]\n    raise e\ndef g(e): return e.extra"),
    "an exception of its own in a group": satisfies("try:\n    f()\n    assert 0\nexcept* OSError as g:\n    assert [e.port for e in g.exceptions] == [1, 2]", "class P(OSError):\n    def __init__(self, port): self.port = port\ndef f(): raise ExceptionGroup('g', [P(1), P(2)])"),
    "an exception of its own behind a context manager": satisfies("import contextlib\n@contextlib.contextmanager\ndef raises(kind):\n    try: yield\n    except kind: return\n    assert 0\n@contextlib.contextmanager\ndef through(): yield\nwith raises(ValueError), through():\n    f()", "class V(ValueError): pass\ndef f(): raise V('x')"),
    "the name of an object's class": satisfies("assert type(f()).__name__ == 'D' and f().__class__.__name__ == 'D' and type(f()) is type(f())", "class D: pass\ndef f(): return D()"),
    "values of the standard library": satisfies("import uuid, ipaddress, datetime\nassert f() == [uuid.UUID(int=5), ipaddress.ip_address('::1'), datetime.timezone.utc, slice(1, 2), ..., int]", "import uuid, ipaddress, datetime\ndef f(): return [uuid.UUID(int=5), ipaddress.ip_address('::1'), datetime.timezone.utc, slice(1, 2), ..., int]"),
    "built-in classes": satisfies("assert f(1, int) is int and f('a', str) is str and f(1, str) is None", "def f(x, kind): return type(x) if isinstance(x, kind) else None"),
    "a namespace": satisfies("from types import SimpleNamespace\nassert f().a == 1 and f() == SimpleNamespace(a=1) and SimpleNamespace(a=2) != f()", "from types import SimpleNamespace\ndef f(): return SimpleNamespace(a=1)"),
    "an array of the standard library": satisfies("from array import array\nassert f() == array('i', [1, 2]) and list(f()) == [1, 2] and f()[0] == 1 and len(f()) == 2", "from array import array\ndef f(): return array('i', [1, 2])"),
    "objects compared item by item": satisfies("assert all(V([1, 2]) == V([1, 2])) and not all(V([1, 2]) == V([1, 3])) and (V([1]) != V([2])) == [True]", "class V:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return [a == b for a, b in zip(self.x, o.x)]\n    def __ne__(self, o): return [a != b for a, b in zip(self.x, o.x)]"),
    # Imports that the test forgot, and the program has.
    "numbers.Integral": satisfies("assert isinstance(f(21), numbers.Integral) and f(21) == 42", "import numbers\ndef f(x): return 2 * x"),
    "a Counter": satisfies("assert f('aab') == Counter('aba') and isinstance(f(''), Counter)", "from collections import Counter\ndef f(s): return Counter(s)"),
    "a spawned pool in a call": satisfies("assert f() == [0, 1, 4]", "import multiprocessing as mp\ndef g(x): return x * x\ndef f():\n    with mp.get_context('spawn').Pool(1) as p: return p.map(g, range(3))"),
    # What a test may do in its own process.
    "library functions that only compute": satisfies("import copy, math, os, random, sys, time\nfrom decimal import Decimal\nstart = time.perf_counter()\nassert f(os.path.join('a', 'b')) == 'a/b' and f(sys.maxsize) > 9 and math.isclose(f(Decimal('0.5')), 0.5)\nxs = [random.Random(3).randint(0, 9) for _ in range(3)]\nassert f(copy.deepcopy(xs)) == xs and getattr(math, 'floor')(f(1.5)) == 1 and time.perf_counter() - start < 60", "def f(x): return x"),
    "variables called like modules that it imports": satisfies("import time, array\ndef check(c):\n    array = [0, 0]\n    array[0] = c(1)\n    time = {}\n    time['x'] = 2\n    assert array == [2, 0]\ncheck(f)", "def f(x): return 2 * x"),
    "iterators that are read once": satisfies("it = iter([1, 2])\nassert f(it) == 3\nit = map(int, '34')\nassert f(it) == 7\nassert f(x for x in range(4)) == 6 and f(zip()) == 0", "def f(it): return sum(it)"),
    "an iterator of the program's that goes back twice": satisfies("it = f()\nassert g(it) == 0 and list(it) == []", "def f(): return iter([])\ndef g(it): return len(list(it))"),
    "views of a dict that changes": satisfies("d = {'a': 1}\nk, v, i = f(d)\nd['b'] = 2\nassert list(k) == ['a', 'b'] and list(v) == [1, 2] and len(i) == 2\nn, own = g()\nn['x'] = 5\nassert list(own) == ['x']", "def f(d): return d.keys(), d.values(), d.items()\ndef g():\n    d = {}\n    return d, d.keys()"),
    "its own source in a call": satisfies("assert f().startswith('def f')", "import inspect\ndef f(): return inspect.getsource(f)"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_honest_programs_pass(case: Honest, tier: str, patient: Limits) -> None:
    record = {"entry_point": case.entry_point, "tests": [case.test, case.test]}
    found = grade_completion(record, case.program, None, Rules(patient, tier))
    assert found._replace(wall_s=0) == (True, "passed", "", 0, tier, "parent")


@pytest.mark.parametrize(
    ("test", "program"),
    [
        ("x = f(1200)\nassert x", DEEP.format("[]", "[x]")),
        ("try: x = f(1200)\nexcept TypeError: pass", DEEP.format("[]", "[x]")),
        ("x = []\nfor _ in range(1200): x = (x,)\nassert f(x) == 1", "def f(x): return len(x)"),
        ("assert len(f()) == 4_100_000", "def f(): return [0] * 4_100_000"),
        ("assert f([])", "def f(x):\n    x.extend([0] * 4_100_000)\n    return True"),
        ("assert len(f()) == 1 << 28", "def f(): return bytes(1 << 26) * 4"),
    ],
)
def test_what_is_too_large_to_pass_is_said_to_be_a_limit_of_the_grader(
    test: str, program: str, patient: Limits
) -> None:
    record = {"entry_point": "f", "tests": [{"type": "assert", "code": test}]}
    found = grade_completion(record, program, None, Rules(patient))
    assert (found.status, found.trust) == ("output_limit", "parent")
    assert "a limit of the grader" in found.detail
