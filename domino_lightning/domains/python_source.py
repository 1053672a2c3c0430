"""Python programs as text: parsed under guard, and normalised so that copies are recognised."""

from __future__ import annotations

import ast
import builtins
import warnings

from domino_lightning.domains.base import Unparsable

MAX_CHARACTERS = 20_000


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sample's "\d" is its own affair
            return ast.parse(text)
    except SyntaxError as error:
        raise Unparsable("syntax", f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unparsable("syntax", f"{type(error).__name__}: {error}") from None


def same_layout(text: str) -> str:
    """The program without comments and layout, so that equal keys mean equal programs.

    Raises:
        Unparsable: it is no Python.
    """
    return ast.unparse(parse_python(text))


def same_names(code: str) -> str:
    """The program without layout, docstrings, annotations and its own names (v0, v1, … in order of appearance).

    Builtins, attributes and imported names stay, since they carry meaning.

    Raises:
        Unparsable: it is no Python.
    """
    tree = parse_python(code)
    renamed = _Renamer(_own_names(tree)).visit(tree)
    return ast.unparse(ast.fix_missing_locations(renamed))


def _own_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names - set(dir(builtins))


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

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name, node.returns = self._name(node.name), None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node
