"""Programs that write, patch or look up a result instead of computing it."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import (
    ASSERT,
    CHECK,
    DEFINE,
    EQUAL,
    EVERY_FD,
    FLOATS,
    PRINT,
    RETURN,
    RIGHT,
    Hostile,
    hostile,
    require_failure,
)

SETS = [{"type": "assert", "code": "assert set(f([3, 1, 1])) == set((1, 3))"}]
TYPES = [{"type": "assert", "code": "assert isinstance(f(2), list)\nassert f(2) == [0, 1]"}]
CLOSE = [{"type": "assert", "code": "assert math.isclose(f(2), 1.41, rel_tol=0.01)"}]
RAISES = [{"type": "assert", "code": "try:\n    f(-1)\n    assert 0\nexcept ValueError:\n    pass\nassert f(1) == 2"}]
INTEGRAL = [{"type": "assert", "code": "assert isinstance(f(21), numbers.Integral) and f(21) == 42"}]
ALLCLOSE = [{"type": "assert", "code": "assert np.allclose(f(2), [1.41])"}]
SEND = "import os\ndef send(body):\n    data = b'%016x' % len(body) + body\n    while data: data = data[os.write(4, data):]\nsend("
REPORT = (
    "import gc, os\n"
    "for o in gc.get_objects():\n"
    "    for cell in getattr(o, '__closure__', None) or ():\n"
    "        try: v = cell.cell_contents\n"
    "        except ValueError: continue\n"
    "        if type(v) is str and len(v) == 32:\n"
    '            os.write(3, b\'{"nonce":"%s","status":"value"}\\n\' % v.encode() + b\''
)

PROGRAMS = {
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
        "output_limit",
    ),
    "an endless answer": hostile(
        ASSERT, "def f(x):\n    def g():\n        while True: yield 1\n    return g()", "failed", "error", "timeout", "memory"
    ),
    "answers with something that nobody sent": hostile(ASSERT, SEND + """b'{"v":{"f":{"=":7}}}')""" + DEFINE, "error"),
    "answers with exceptions within exceptions": hostile(
        ASSERT, SEND + """b'{"v":{"f":' + b'{"h":[1,"E","ValueError",[' * 3000 + b'],{}]}' * 3000 + b'}}')""" + DEFINE,
        "error", "crashed",
    ),
    "says that it changed what it was not given": hostile(
        ASSERT,
        SEND + """b'{"v":{"f":{"h":[0,"function"]}}}')\nsend(b'{"v":true,"m":[[0,1,2],[[],[],[]]],"g":{}}')\nos._exit(0)""",
        "error", "failed", "crashed",
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
        f"for root in ({str(Path.cwd())!r}, {str(Path.home())!r}, '/home', '/tmp', '/site', '/var', '/etc', '/proc/1'):\n"
        "    for folder, _, files in os.walk(root):\n"
        "        for name in files:\n"
        "            try:\n"
        "                if b'\"output\": \"42' in open(os.path.join(folder, name), 'rb').read(1 << 16): print(42)\n"
        "            except OSError: pass",
        "failed",
    ),
    "imports the grader": hostile(
        ASSERT, "import domino_lightning.execution.unit_test as j\nj.same_value = lambda *a: True" + DEFINE, "error"
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
    # Names that the test uses.
    "defines a built-in of the test's": hostile(SETS, "def set(x): return 0\ndef f(x): return []", "failed"),
    "imports over a built-in of the test's": hostile(
        SETS, "from operator import truth as set\ndef f(x): return [0]", "failed"
    ),
    "imports other built-ins": hostile(SETS, "import operator as __builtins__\ndef f(x): return []", "failed"),
    "assigns a built-in of the test's": hostile(FLOATS, "abs = lambda x: 0\ndef f(x): return 99", "failed"),
    "is called like a module that the test forgot to import": hostile(
        CLOSE, "class math:\n    isclose = lambda *a, **k: True\ndef f(x): return 0", "error"
    ),
    "imports another module as the test's": hostile(
        CLOSE, "import unittest.mock\nfrom unittest.mock import MagicMock as math\ndef f(x): return 0", "error"
    ),
    "has a class of its own for every type test": hostile(
        TYPES, EQUAL + "list = list\nclass L(list, Liar): __eq__ = Liar.__eq__\ndef f(x): return L()", "failed"
    ),
    "names an exception of the test's to share its process": hostile(
        RAISES, EQUAL + "ValueError = ValueError\ndef f(x):\n    if x < 0: raise ValueError\n    return Liar()", "failed"
    ),
    "names what the test imports to share its process": hostile(
        [{"type": "assert", "code": "from collections import Counter\nx = f('aab')\nassert isinstance(x, Counter)\nassert x == {'a': 2, 'b': 1}"}],
        EQUAL + "from collections import Counter\nCounter = Counter\nclass C(Counter, Liar): __eq__ = Liar.__eq__\ndef f(x): return C()",
        "failed",
    ),
    "ends the test's loop before it fails": hostile(
        [{"type": "assert", "code": "cases = {21: 42, 4: 8}\nassert all(map(lambda x: f(x) == cases[x], cases))"}],
        "def f(x): raise StopIteration", "error",
    ),
    "imports what equals everything": hostile(CHECK, "from unittest.mock import _ANY as f", "failed", "error"),
    "imports what equals everything, called without arguments": hostile(
        [{"type": "assert", "code": "assert f() == 42"}], "from unittest.mock import _ANY as f", "failed"
    ),
    "imports a class that equals everything": hostile(
        [{"type": "assert", "code": "s = Stack()\nassert s == [1]"}], "from unittest.mock import _ANY as Stack", "failed"
    ),
    "imports a call that is anything": hostile(ASSERT, "from unittest.mock import MagicMock as f", "failed", "error"),
    "takes a module's name to share the test's process": hostile(
        INTEGRAL, EQUAL + "numbers = None\ndef f(x): return Liar()", "error"
    ),
    "puts a class in a module's place": hostile(
        INTEGRAL, EQUAL + "class numbers: Integral = object\ndef f(x): return Liar()", "error"
    ),
    "imports another module in its place": hostile(
        INTEGRAL, EQUAL + "import unittest.mock as numbers\ndef f(x): return Liar()", "error"
    ),
    "changes the module that the test means": hostile(
        INTEGRAL, EQUAL + "import numbers\nnumbers.Integral = Liar\ndef f(x): return Liar()", "failed"
    ),
    "puts a class in numpy's place": hostile(ALLCLOSE, "class np: allclose = lambda *a: True\ndef f(x): return [0]", "error"),
    "changes numpy": hostile(ALLCLOSE, "import numpy as np\nnp.allclose = lambda *a: True\ndef f(x): return [0]", "failed"),
    "hides a built-in beside the function under test": hostile(
        [{"type": "assert", "code": "assert abs(f(2) - 1.41) < 0.01"}], "abs = lambda x: 0\ndef f(x): return 0", "failed"
    ),
    "names the test's own variables": hostile(
        [{"type": "assert", "code": "want = 42\nassert f(21) == want\nassert __name__ == '__main__'"}],
        "want = 21\n__name__ = '__main__'\n__builtins__ = {}" + DEFINE, "failed", "error",
    ),
    # Answers of a size that nobody wants to read.
    "millions of empty lists for the grader": hostile(
        RETURN, REPORT + "[' + b'[],' * 300_000 + b'1]')\nos._exit(0)", "failed", "crashed", "output_limit"
    ),
    "millions of empty lists for the checker": hostile(ASSERT, SEND + "b'[],' * 5_000_000)" + DEFINE, "output_limit"),
    "millions of empty dicts for the checker": hostile(ASSERT, SEND + "b'{},' * 5_000_000)" + DEFINE, "output_limit"),
    "millions of texts for the checker": hostile(ASSERT, SEND + "b'\"\",' * 5_000_000)" + DEFINE, "output_limit"),
    "brackets without end for the checker": hostile(ASSERT, SEND + "b'[' * 5_000_000)" + DEFINE, "output_limit"),
    "a message that is no message": hostile(RETURN, "import os\nos.write(3, b'[' * 900_000)\nos._exit(0)", "crashed"),
    # Text.
    "prints what is not UTF-8": hostile(PRINT, "import sys\nsys.stdout.buffer.write(b'42\\xff\\n')", "failed"),
    "prints lone surrogates": hostile(PRINT, "print('\\ud800')", "error"),
    "returns lone surrogates": hostile(RETURN, "def f(x): return '\\udcff'", "failed"),
    "raises lone surrogates": hostile(RETURN, "def f(x): raise ValueError('\\udcff\\n\\r\\0')", "error"),
    "null bytes in the source": hostile(ASSERT, "def f(x):\n    return '\x00'", "error"),
    "an integer as long as a book": hostile(RETURN, "def f(x): return 10 ** 100_000", "failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)
