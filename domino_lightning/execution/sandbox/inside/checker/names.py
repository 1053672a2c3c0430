"""What test code sees by name: its own imports, names of the program's, and nothing else of either.

Test code that needs more than calls (`isinstance` with a class of the program's, captured output, patched modules, …)
is found by its own syntax, never by what the program does.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from domino_lightning.execution.sandbox.inside.checker.link import Link, Unproxyable
from domino_lightning.execution.sandbox.inside.peer import Peer

_NEEDS_PROCESS = frozenset((
    "globals", "locals", "vars", "eval", "exec", "inspect", "asyncio", "open", "tempfile", "shutil", "pathlib",
    "Path", "patch", "mock", "StringIO", "BytesIO", "redirect_stdout", "redirect_stderr", "stdin", "stdout", "stderr",
    "modules", "settrace", "setrecursionlimit", "seed", "environ", "chdir", "__import__", "importlib",
    "import_module", "pickle", "gc", "weakref", "threading", "builtins",
))  # fmt: skip
_TYPE_TESTS = frozenset(("isinstance", "issubclass"))
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def make_namespace(test: ast.Module, program: ast.Module, peer: Peer) -> dict[str, Any]:
    """What the test sees: names of the program's that it uses, its own imports, and nothing else of either."""
    names = [node for node in ast.walk(test) if isinstance(node, ast.Name)]
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - set(_bound(test.body, inner=False))
    defined = set(_bound([node for node in program.body if not isinstance(node, ast.Import | ast.ImportFrom)]))
    local = set(_bound(test.body))
    _require_proxyable(test, {name for name in defined - local if not hasattr(builtins, name)})
    imports = [node for node in program.body if isinstance(node, ast.Import | ast.ImportFrom)]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for statement in imports:
        roots = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else [a.name for a in statement.names]
        if all(root.partition(".")[0] in sys.stdlib_module_names for root in roots):
            try:
                exec(compile(ast.Module([statement], []), "<imports>", "exec"), namespace)
            except Exception:  # the program's process meets the same error, or the name is not used here
                continue
    # The program's imports and names hide no built-in from the test: a `set` that makes all sets equal is a trick.
    hidden = [name for name in namespace if hasattr(builtins, name) or name == "__builtins__"]
    for name in hidden:
        del namespace[name]
    namespace["__name__"] = "__main__"
    for name, module in _modules(test, used).items():
        used.discard(name)
        if namespace.get(name) is not module:  # not imported, or something else is called like it
            namespace.pop(name, None)
    theirs = {name for name in used if name in defined or name not in namespace and name not in local}
    asked = {name for name in theirs if not hasattr(builtins, name)}
    asked = asked or theirs & defined  # the test is of nothing else, so it means the program's `sum`
    hoisted = [ast.unparse(node) for node in test.body if isinstance(node, ast.Import | ast.ImportFrom)]
    link = Link(peer, namespace)
    reply = link.request({"o": "names", "n": sorted(asked), "i": hoisted})
    namespace.update({name: reply[name] for name in asked if name in reply})
    link.names = frozenset(asked)
    return namespace


def _modules(test: ast.Module, used: set[str]) -> dict[str, Any]:
    """Names that can only mean a module of the standard library, by the attributes that the test asks them for."""
    attributes: dict[str, set[str]] = {}
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
    found = {}
    for name in attributes.keys() & used & sys.stdlib_module_names:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if all(hasattr(module, attribute) for attribute in attributes[name]):
                found[name] = module
    return found


def _bound(body: Sequence[ast.stmt], inner: bool = True) -> Iterator[str]:
    """Names that statements bind: at any depth, or only in the scope that they are in."""
    queue: list[ast.AST] = [*body]
    while queue:
        node = queue.pop()
        if inner or not isinstance(node, _SCOPES):
            queue += ast.iter_child_nodes(node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def _require_proxyable(test: ast.Module, defined: set[str]) -> None:
    for node in ast.walk(test):
        types: list[ast.expr] = []
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            raise Unproxyable("it awaits")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TYPE_TESTS:
            types = node.args[1:]
        elif isinstance(node, ast.ClassDef):
            types = node.bases
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            types = [node.type]
        elif isinstance(node, ast.Raise) and node.exc is not None:
            types = [node.exc]
        elif isinstance(node, ast.With):
            types = [item.context_expr for item in node.items]
        for inner in (each for kind in types for each in ast.walk(kind)):
            if isinstance(inner, ast.Name) and inner.id in defined:
                raise Unproxyable(f"it uses the class {inner.id}")
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in _NEEDS_PROCESS and name not in defined:
            raise Unproxyable(f"it uses {name}")
