"""Python programs as text: parsed under guard, and normalized so that copies are recognised."""

from __future__ import annotations

import ast
import builtins
import importlib
import warnings
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from domino_lightning.domains.base import Unparsable
from domino_lightning.execution.literals import WARNINGS_LOCK

MAX_CHARACTERS = 20_000
# `typing` comes last: it has a `Counter` and a `Deque` too.
LEETCODE_MODULES = ("collections", "heapq", "bisect", "itertools", "functools", "math", "typing")


def parse_python(text: str) -> ast.Module:
    """The syntax tree of a program, never executed.

    Raises:
        Unparsable: `empty`, `too_long`, or `syntax`.
    """
    if not text.strip():
        raise Unparsable("empty", "no text")
    if len(text) > MAX_CHARACTERS:
        raise Unparsable("too_long", f"{len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        with WARNINGS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sample's "\d" is its own affair
            return ast.parse(text)
    except SyntaxError as error:
        raise Unparsable("syntax", f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unparsable("syntax", f"{type(error).__name__}: {error}") from None


def source_lines(text: str) -> list[str]:
    """The lines of a program as `ast` numbers them; `str.splitlines` breaks at form feeds and U+2028 too."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def same_layout(text: str) -> str:
    """The program without comments and layout, so that equal keys mean equal programs.

    Raises:
        Unparsable: it is no Python.
    """
    return unparse(parse_python(text))


@lru_cache(maxsize=1024)  # rows often share a program, each with an input of its own
def same_names(code: str) -> str:
    """The program without layout, docstrings, annotations and its own names (v0, v1, … in order of appearance).

    Builtins that it does not redefine, attributes and imported names stay, since they carry meaning.

    Raises:
        Unparsable: it is no Python.
    """
    tree = parse_python(code)
    try:
        renamed = _Renamer(_own_names(tree)).visit(tree)
    except RecursionError:
        raise Unparsable("syntax", "nested too deep") from None
    return unparse(renamed)


def unparse(tree: ast.AST) -> str:
    """The source of a tree, in one layout.

    Raises:
        Unparsable: `syntax`, where it parses but nests too deep or holds a number too long to be written out.
    """
    try:
        return ast.unparse(tree)
    except (RecursionError, ValueError) as error:
        raise Unparsable("syntax", f"{type(error).__name__}: {error}") from None


def missing_imports(code: str) -> str:
    """Import lines for the names that a program uses as LeetCode lets it: `List`, `Counter`, `gcd`, `math`, …

    Raises:
        Unparsable: it is no Python.
    """
    tree = parse_python(code)
    names, owners, bound = _used_names(tree)
    lines = [f"import {name}" for name in LEETCODE_MODULES if name in owners - bound]
    for module, offered in _offered().items():
        chosen = sorted((names & offered) - bound - owners)
        bound |= offered
        if chosen:
            lines.append(f"from {module} import {', '.join(chosen)}")
    return "\n".join(lines)


def missing_modules(code: str) -> list[str]:
    """Modules among LeetCode's that a program takes attributes of without importing them.

    Raises:
        Unparsable: it is no Python.
    """
    _, owners, bound = _used_names(parse_python(code))
    return [name for name in LEETCODE_MODULES if name in owners - bound]


def _used_names(tree: ast.AST) -> tuple[set[str], set[str], set[str]]:
    """The names that a program uses, those that it takes attributes of, and those that it binds or are builtins."""
    names, owners, bound = set(), set(), _own_names(tree) | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owners.add(node.value.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names, owners, bound


@cache
def _offered() -> dict[str, frozenset[str]]:
    modules = [importlib.import_module(name) for name in LEETCODE_MODULES]
    return {module.__name__: frozenset(getattr(module, "__all__", None) or dir(module)) for module in modules}


def stated_names(row: Mapping[str, Any]) -> list[str]:
    """The names of functions that a row, of whatever format, states in a field of its own."""
    values = (row.get(field) for field in ("entry_point", "function_name", "func_name"))
    return [value for value in values if isinstance(value, str)]


def _own_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


class _Renamer(ast.NodeTransformer):
    def __init__(self, own: set[str]) -> None:
        self.own = own
        self.new: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self.new.setdefault(name, f"v{len(self.new)}") if name in self.own else name

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._name(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        self.generic_visit(node)
        if node.arg is not None and node.arg in self.new:
            node.arg = self.new[node.arg]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        if node.name:
            node.name = self._name(node.name)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.name = self._name(node.name)
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name, node.returns = self._name(node.name), None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node


def starter_tree(starter_code: str) -> ast.Module:
    """The tree of starter code that may end in the head of an unwritten function.

    Raises:
        UserError: it is no Python even with a body.
    """
    code = starter_code.rstrip()
    last = code.rpartition("\n")[2]
    indent = " " * (len(last) - len(last.lstrip()) + 4)
    for candidate in (code, f"{code}\n{indent}pass"):
        try:
            return parse_python(candidate)
        except Unparsable as error:
            problem = error
    raise problem
