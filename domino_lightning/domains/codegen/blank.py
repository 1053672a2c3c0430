"""Whether a row's tests can fail: they are run against programs that say one thing whatever they are asked.

What test code executes cannot be told from its text (`assert` below an `except`, in a loop over nothing, in a coroutine
that nobody awaits). So it is run, in the sandbox, on programs in which everything that it names is a stand-in. Two of
them answer every question, such as `==` or `bool`, by no and by yes, and take part in all arithmetic (only what comes
of the same calls is equal); the others give one constant, or the first argument after changing it. Tests that pass with
each of them assert nothing of a program but that it ends.
"""

from __future__ import annotations

import ast
import builtins
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.codegen.grading import run_ahead
from domino_lightning.domains.python.source import parse_python
from domino_lightning.execution.unit_test import RULES, Rules, run_beside
from domino_lightning.utils.jsonl import Record

EMPTY = "has tests that no program could fail: they pass whatever its functions return"
_CONSTANTS = ("None", "False", "True", "0", "-1.5", "''", "'a'", "[]", "[0]", "{}", "()", "set()", "...")
_ANSWERING = """
class Blank:
    def __init__(self, origin): self.origin = origin
    def __call__(self, *values, **named): return Blank(f"{self.origin}{values}{named}")
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return Blank(f"{self.origin}.{name}")
    def __repr__(self): return self.origin
    def __iter__(self): return iter([self("each")])
    def __len__(self): return 1
    def __index__(self): return 0
    def __int__(self): return 0
    def __float__(self): return float("nan")
    def __array__(self, dtype=None, copy=None):
        import numpy
        return numpy.array(float("nan"), dtype)
    def __hash__(self): return 0
    def __enter__(self): return self("with")
    def __exit__(self, *error): return False
    def __await__(self):
        yield from ()
        return self("await")
    def __eq__(self, other): return ANSWER or isinstance(other, Blank) and other.origin == self.origin
def asked(self, *other): return ANSWER
def made(kind): return lambda self, *other: self(kind, *other)
for name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for kind in "", "r", "i":
        setattr(Blank, f"__{kind}{name}__", made(kind + name))
for name in "neg", "pos", "abs", "invert", "round", "getitem":
    setattr(Blank, f"__{name}__", made(name))
for name in "ne", "lt", "le", "gt", "ge", "bool", "contains":
    setattr(Blank, f"__{name}__", asked)
"""
_CHANGING = """
def change(*values, **named):
    values = [*values, *named.values()]
    for value in values:
        if isinstance(value, (list, bytearray)): value[:] = value[1:] or [7]
        elif isinstance(value, (dict, set)): value.clear()
    return values[0] if values else None
"""


def empty_tests(records: Iterable[Record], workers: int, rules: Rules = RULES) -> Iterator[str | None]:
    """`find_empty` of every record, in order; `workers` of them at a time."""
    jobs = ([lambda stop, record=record: find_empty(record, rules, stop)] for record in records)
    for (problem,) in run_ahead(jobs, workers):
        yield problem


def find_empty(record: Mapping[str, Any], rules: Rules = RULES, stop: threading.Event | None = None) -> str | None:
    """What is wrong with a record whose tests pass with every one of the stand-ins; None of any other.

    The first of them mostly fails the first test, so this takes the time of one program.

    Raises:
        UserError: the host has no sandbox.
        StageFailed: the sandbox itself fails.
        Stopped: `stop` was set meanwhile.
    """
    tests = record["tests"]
    if not tests or any(test["type"] != "assert" for test in tests):
        return None  # an output is always compared
    names = _names(record)
    for program, answers in _programs(record, sorted(names)):
        for test in tests:
            status = run_beside(program, test["code"], rules, stop).status
            # A constant that something cannot be done with shows a wrong type, which any test that calls does.
            if status != "passed" and (answers or status == "failed"):
                return None
            if status != "passed":
                break
    return EMPTY


def _programs(record: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each stand-in's source, and whether it takes part in everything."""
    imports = _imports(record.get("solution") or "")

    def defined(source: str, value: str) -> str:
        functions = (f"def {name}(*values, **named): return {value.replace('NAME', name)}\n" for name in names)
        return imports + source + "".join(functions)

    for answer in ("False", "True"):
        yield defined(f"ANSWER = {answer}\n{_ANSWERING}", "Blank(f'NAME{values}{named}')"), True
    yield defined(_CHANGING, "change(*values, **named)"), False
    for constant in _CONSTANTS:
        yield defined("", constant), False


def _names(record: Mapping[str, Any]) -> set[str]:
    """Names that the tests may have of a program; a built-in's where it defines it, or they use no other."""
    nodes = [node for test in record["tests"] for node in ast.walk(_tree(test["code"]))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    imported = {line.split()[-1] for line in _imports(record.get("solution") or "").splitlines()}
    free = {node.id for node in names if not hasattr(builtins, node.id)} - imported - bound
    entry_point = record.get("entry_point") or "Solution"
    solution = _tree(record.get("solution") or "")
    defined = {node.name for node in solution.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if entry_point in defined or not free or not hasattr(builtins, entry_point):
        free.add(entry_point)
    return free | {"Solution"}


def _imports(source: str) -> str:
    """A solution's own imports, one name a line: tests of a release may rest on them."""
    nodes = [node for node in _tree(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = []
    for node in nodes:
        begin = f"from {'.' * node.level}{node.module or ''} import " if isinstance(node, ast.ImportFrom) else "import "
        lines += [f"{begin}{alias.name}" + (f" as {alias.asname}" if alias.asname else "") for alias in node.names]
    return "".join(f"{line}\n" for line in lines)


def _tree(source: str) -> ast.Module:
    try:
        return parse_python(source)
    except Unparsable:
        return ast.Module([], [])  # too long to be parsed here: then the entry point is all that is known
