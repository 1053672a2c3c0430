"""Tests that need the program's own process, which their verdicts say; and that no program chooses which do."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import pytest

from domino_lightning.domains.codegen.grading import grade_completion
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.unit_test import Rules
from tests.execution.sandbox.test_honest import BAG, VEC, Honest, satisfies

# Test code that needs the program's own classes or streams runs beside it.
SHARED = {
    "isinstance": satisfies("assert isinstance(f(), P)", "class P: pass\ndef f(): return P()"),
    "a subclass": satisfies("class Q(P): pass\nassert Q().x == 1", "class P:\n    x = 1"),
    "its own exception": satisfies("try:\n    f()\nexcept Bad:\n    pass\nelse:\n    assert 0", "class Bad(Exception): pass\ndef f(): raise Bad"),
    "a function as argument": satisfies("assert f(lambda x: x + 1, 1) == 2", "def f(g, x): return g(x)"),
    "which exception it was": satisfies("err = ValueError('x')\nassert R(err).error is err", "class R:\n    def __init__(self, e): self.error = e"),
    "a context manager": satisfies("with P() as x:\n    assert x == 1", "class P:\n    def __enter__(self): return 1\n    def __exit__(self, *a): pass"),
    "captured output": satisfies("import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    f()\nassert out.getvalue() == 'hi\\n'", "def f(): print('hi')"),
    "the type of an object": satisfies("v = Vec(1, 2)\nassert type(v) is Vec and type(v).__name__ == 'Vec' and v.__class__ is Vec", VEC),
    "a class pattern": satisfies("match Vec(1, 2):\n    case Vec(x=1, y=y):\n        assert y == 2\n    case _:\n        assert 0", VEC),
    "divmod": satisfies("assert divmod(Vec(7, 5), 2) == (Vec(3, 2), Vec(1, 1))", VEC),
    "a plain value of an operator with one": satisfies("assert abs(Vec(3, 4) * 2) == 10", VEC),
    "an order with a plain value": satisfies("assert Vec(3, 4) < 6", VEC),
    "in by __contains__ alone": satisfies("assert 3 in Bag(1, 3) and 4 not in Bag(1)", BAG),
    "the end of a generator that is sent to": satisfies("g = f()\nnext(g)\ntry:\n    g.send(1)\n    assert 0\nexcept StopIteration as e:\n    assert e.value == 1", "def f():\n    x = yield\n    return x"),
    "what a generator returns": satisfies("g = f()\nassert next(g) == 1\ntry:\n    next(g)\n    assert 0\nexcept StopIteration as e:\n    assert e.value == 2", "def f():\n    yield 1\n    return 2"),
    "the source of a function": satisfies("import inspect\nassert 'return 7' in inspect.getsource(f)", "def f(): return 7"),
    "a docstring": satisfies("assert f.__doc__ == 'Doubles.'", "def f(x):\n    'Doubles.'\n    return 2 * x"),
    "a class of the program's that is called like a known one": satisfies("assert Counter().n == 0", "class Counter:\n    n = 0"),
    "a signature by a name that is imported": satisfies("from inspect import signature as s\nassert list(s(f).parameters) == ['a', 'b']", "def f(a, b=2): return a"),
    "the traceback of an exception": satisfies("import traceback\ntry:\n    f()\nexcept KeyError as e:\n    assert traceback.extract_tb(e.__traceback__)[-1].name == 'g'\nelse: assert 0", "def g(): return {}[1]\ndef f(): return g()"),
    "type hints": satisfies("from typing import get_type_hints\nassert get_type_hints(f) == {'x': int, 'return': str}", "def f(x: int) -> str: return str(x)"),
    "the fields of a data class": satisfies("import dataclasses\nassert dataclasses.asdict(f(3)) == {'x': 3}", "from dataclasses import dataclass\n@dataclass\nclass P: x: int\ndef f(x): return P(x)"),
    "how an array lies in memory": satisfies("x = f()\nassert x.flags.f_contiguous and not x.flags.c_contiguous and x.strides == (8, 16)", "import numpy as np\ndef f(): return np.zeros((2, 5), order='F')"),
    # State and files of a process.
    "a file that it looks for": satisfies("import os\nf('new')\nassert os.path.isfile('new/a') and os.path.getsize('new/a') == 2 and os.listdir('new') == ['a']", "import os\ndef f(p):\n    os.mkdir(p)\n    with open(p + '/a', 'w') as out: out.write('xy')"),
    "a folder that it makes": satisfies("from os import makedirs as make\nmake('in/there')\nassert f('in') == ['there']", "import os\ndef f(p): return os.listdir(p)"),
    "a file by a pattern": satisfies("from glob import *\nf()\nassert glob('*.log') == ['a.log']", "def f(): open('a.log', 'w').close()"),
    "a module that only the program imports": satisfies("f()\nassert os.path.exists('z')", "import os\ndef f(): open('z', 'w').close()"),
    "a database": satisfies("import sqlite3\nf('x.db')\nassert sqlite3.connect('x.db').execute('select n from t').fetchone() == (4,)", "import sqlite3\ndef f(p):\n    with sqlite3.connect(p) as c: c.executescript('create table t(n); insert into t values (4)')"),
    "an archive": satisfies("import zipfile as z\nf()\nassert z.ZipFile('a.zip').namelist() == ['m']", "import zipfile\ndef f():\n    with zipfile.ZipFile('a.zip', 'w') as out: out.writestr('m', 'x')"),
    "recorded warnings": satisfies("import warnings as w\nwith w.catch_warnings(record=True) as got:\n    w.simplefilter('always')\n    f()\nassert [str(each.message) for each in got] == ['old']", "import warnings\ndef f(): warnings.warn('old', DeprecationWarning)"),
    "warnings in a test case": satisfies("import unittest\nwith unittest.TestCase().assertWarns(UserWarning): f()", "import warnings\ndef f(): warnings.warn('x')"),
    "a log": satisfies("import logging\ngot = []\nclass Keep(logging.Handler):\n    def emit(self, record): got.append(record.levelname)\nlogging.getLogger('p').addHandler(Keep())\nf()\nassert got == ['ERROR']", "import logging\ndef f(): logging.getLogger('p').error('x')"),
    "the precision of decimals": satisfies("from decimal import *\nwith localcontext() as c:\n    c.prec = 4\n    assert str(f()) == '0.1429'", "from decimal import Decimal\ndef f(): return Decimal(1) / 7"),
    "how arrays are printed": satisfies("import numpy as np\nwith np.printoptions(precision=1):\n    assert f() == '[0.2]'", "import numpy as np\ndef f(): return str(np.array([0.16]))"),
    "arguments of the command line": satisfies("import sys\nsys.argv[1:] = ['a', 'b']\nassert f() == 'ab'", "import sys\ndef f(): return ''.join(sys.argv[1:])"),
    "a function of a module put in its place": satisfies("import time, random as r\ntime.sleep = lambda s: None\nr.choice = max\nassert f() == 3", "import random, time\ndef f():\n    time.sleep(1000)\n    return random.choice([1, 3, 2])"),
    "a constant of a module set by setattr": satisfies("import math\nsetattr(math, 'pi', 3)\nassert f(2) == 12", "import math\ndef f(r): return math.pi * r * r"),
    "a module under another name": satisfies("import math\nm = math\nm.tau = 6\nassert f() == 6", "import math\ndef f(): return math.tau"),
    "a method of a library's class put in its place": satisfies("from collections import OrderedDict\nimport string\nstring.Formatter.format = lambda *a: 'F'\nassert f() == 'F'", "import string\ndef f(): return string.Formatter().format('{}', 1)"),
    "a built-in function put in its place": satisfies("lines = iter(['3', '4'])\ninput = lambda *a: next(lines)\nassert f() == 7", "def f(): return int(input()) + int(input())"),
    "the program in a text": satisfies("for call, wanted in {'f(3)': 9, 'f(-1)': 1}.items():\n    assert eval(call) == wanted", "def f(x): return x * x"),
    "the program by its name": satisfies("assert globals()['f'](3) == 9", "def f(x): return x * x"),
    # Iterators of which the test reads the rest.
    "the rest of an iterator": satisfies("it = iter([4, 5, 6])\nassert f(it) == 4 and f(it) == 5 and list(it) == [6]", "def f(it): return next(it)"),
    "the rest of what an argument reads": satisfies("it = iter('4567')\nassert f(map(int, it)) == 4\nassert ''.join(it) == '567'", "def f(it): return next(it)"),
    "the rest of a parameter": satisfies("def check(it):\n    assert f(n=it) == 0\n    return next(it)\nassert check(enumerate('ab')) == (1, 'b')", "def f(n): return next(n)[0]"),
    "an iterator in a loop": satisfies("it = iter(range(3))\nfor wanted in range(3):\n    assert f([it]) == wanted", "def f(its): return next(its[0])"),
    "what a generator did": satisfies("seen = []\ndef ask():\n    for i in range(5):\n        seen.append(i)\n        yield i\nassert f(ask()) == 1 and seen == [0, 1]", "def f(it):\n    next(it)\n    return next(it)"),
    "a generator without end, given": satisfies("def count():\n    n = 0\n    while True:\n        yield n\n        n += 1\nassert f(count()) == [0, 1]", "from itertools import islice\ndef f(it): return list(islice(it, 2))"),
    "await": satisfies("import asyncio\nasync def main():\n    assert await f() == 1\nasyncio.run(main())", "async def f(): return 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", SHARED.values(), ids=SHARED)
def test_tests_that_need_the_programs_process_say_so(case: Honest, tier: str, patient: Limits) -> None:
    found = grade_completion({"entry_point": "f", "tests": [case.test]}, case.program, None, Rules(patient, tier))
    assert found._replace(wall_s=0) == (True, "passed", "", 0, tier, "shared")
    wrong = grade_completion(
        {"entry_point": "f", "tests": [case.test]}, "def f(*a): return 0", None, Rules(patient, tier)
    )
    assert not wrong.passed


@pytest.mark.parametrize(
    "given", ["[1, 2]", "iter([1, 2])", "(x for x in [1, 2])", "map(int, [1, 2])", "{1: 2}.items()"]
)
@pytest.mark.parametrize(
    "test", ["x = f()\nassert g(x) == 3\nassert len(x) == 3", "x = f()\nassert g(map(abs, x)) == 5 and x[2]"]
)
def test_a_program_cannot_choose_by_giving_an_iterator(given: str, test: str, patient: Limits) -> None:
    record = {"entry_point": "f", "tests": [{"type": "assert", "code": test}]}
    program = f"def f(): return {given}\ndef g(x): return len(list(x))"
    found = grade_completion(record, program, None, Rules(patient))
    assert (found.passed, found.trust) == (False, "parent")
