"""What test code sees by name: its own imports, built-ins, and of the program what can only be the program's.

All of it follows from the test's own syntax, so that the program has no choice in it: not in what a name stands for
here, nor in whether the test runs in a process of its own. Test code that needs more of a program than calls,
attributes and operators (`isinstance` with a class of the program's, captured output, patched modules, …) does not.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from domino_lightning.execution.sandbox.inside.checker.link import Link
from domino_lightning.execution.sandbox.inside.checker.reach import reaches, used_again
from domino_lightning.execution.sandbox.inside.checker.remote import Remote, Unproxyable, is_class_name
from domino_lightning.execution.sandbox.inside.peer import Peer

_NEEDS_PROCESS = frozenset((
    "globals", "locals", "vars", "eval", "exec", "inspect", "asyncio", "open", "tempfile", "shutil", "pathlib",
    "Path", "patch", "mock", "StringIO", "BytesIO", "redirect_stdout", "redirect_stderr", "stdin", "stdout", "stderr",
    "modules", "settrace", "setrecursionlimit", "seed", "environ", "chdir", "__import__", "importlib",
    "import_module", "pickle", "gc", "weakref", "threading", "builtins", "traceback", "__traceback__",
    "dataclasses", "get_type_hints",  # look into a class or a function, of which a stand-in has nothing
    "assertLogs", "assertNoLogs", "assertWarns", "assertWarnsRegex", "tofile",  # methods that reach for state or files
    "flags", "strides", "shares_memory", "may_share_memory",  # how an array lies in memory, which no copy has
))  # fmt: skip
_TYPE_TESTS = frozenset(("isinstance", "issubclass"))
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
_SHORT = {"np": "numpy"}  # what everyone calls a module
# Names that everyone knows from one module, and that tests use of it where the program imports them.
_KNOWN = {
    **dict.fromkeys(("ChainMap", "Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"), "collections"),
    "Decimal": "decimal",
    "Fraction": "fractions",
}
_MODULES = sys.stdlib_module_names | {"numpy", *_SHORT}


def make_namespace(test: ast.Module, program: ast.Module, entry_point: str | None, peer: Peer) -> Link:
    """A link whose namespace is what the test sees.

    A name is the program's if the test uses it and neither binds it, nor is it a built-in's. One that can only mean a
    module, by the attributes that the test asks it for, is that module where the program imports it, and nothing where
    it does not; likewise what everyone knows from one module, `Counter`.

    Args:
        test: its names say what there is.
        program: only for what it imports and the test forgot to.
        entry_point: called like a built-in, it is the program's all the same.
        peer: the program's process.

    Raises:
        Unproxyable: the test needs the program's process.
    """
    used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    used -= set(_bound(test.body, inner=False))
    modules = _modules(test, used)
    hidden = {name for name in used if hasattr(builtins, name)}
    imported = set(_imports(program))
    known = {name: getattr(importlib.import_module(_KNOWN[name]), name) for name in used & _KNOWN.keys()}
    known.pop(entry_point or "", None)
    for name in known:
        if (name, f"{_KNOWN[name]}.{name}") not in imported:
            raise Unproxyable(f"it uses {name} and does not import it")
    asked = used - hidden - modules.keys() - known.keys()
    if entry_point in hidden:
        asked.add(entry_point)
    elif not asked and len(hidden) > 1:
        raise Unproxyable("it does not say which built-in function is the program's")
    # The test is of nothing else, so it means the program's `sum`; but `eval("f(1)")` names the program in a text.
    asked = asked or hidden - _NEEDS_PROCESS
    local = set(_bound(test.body))
    _require_proxyable(test, asked - local, _stands_for(test), _MODULES | modules.keys() | (hidden - asked))
    shared = reaches(test, {name: module.__name__ for name, module in modules.items() if name not in local})
    if shared is not None:
        raise Unproxyable(shared)
    namespace: dict[str, Any] = {"__name__": "__main__", **known}
    namespace.update({name: module for name, module in modules.items() if (name, module.__name__) in imported})
    link = Link(peer, namespace, _attributes(test), used_again(test))
    hoisted = [ast.unparse(node) for node in test.body if isinstance(node, ast.Import | ast.ImportFrom)]
    namespace.update(link.fetch(frozenset(asked), hoisted))
    return link


def _modules(test: ast.Module, used: set[str]) -> dict[str, Any]:
    """Names that can only mean a module, by the attributes that the test asks them for."""
    attributes: dict[str, set[str]] = {}
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
    found = {}
    for name in attributes.keys() & used & _MODULES:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(_SHORT.get(name, name))
            if all(hasattr(module, attribute) for attribute in attributes[name]):
                found[name] = module
    return found


def _imports(program: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, what it stands for) of everything that a program imports."""
    for node in ast.walk(program):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from ((alias.asname or alias.name, f"{module}{alias.name}") for alias in node.names)


def _stands_for(test: ast.Module) -> dict[str, set[str]]:
    """For each name that a test imports the words of what it imports by it: module and name, whatever it calls them."""
    return {name: set(source.split(".")) for name, source in _imports(test)}


def _attributes(test: ast.Module) -> frozenset[str]:
    """Attributes that the test asks for, also by `getattr`."""
    nodes = list(ast.walk(test))
    written = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    return frozenset(written.union(text for text in texts if isinstance(text, str) and text.isidentifier()))


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
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def _require_proxyable(test: ast.Module, theirs: set[str], imported: Mapping[str, set[str]], genuine: Set[str]) -> None:
    """Raise if the test's syntax needs the program's process.

    Args:
        test: what to look at.
        theirs: names of the program's in it.
        imported: what the test imports.
        genuine: names of modules and built-ins.
    """
    classes = any(map(is_class_name, theirs))
    nodes = list(ast.walk(test))
    for node in nodes:
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            raise Unproxyable("it awaits")
        for name in _names(_types(node)) & theirs:
            raise Unproxyable(f"it uses the class {name}")
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        words = imported.get(name, set()) if isinstance(node, ast.Name) else {name}
        words = words | ({name} & genuine)
        if found := words & _NEEDS_PROCESS:
            raise Unproxyable(f"it uses {min(found)}")
        if isinstance(node, ast.Attribute) and name.startswith("__") and name in vars(Remote).keys() - _forwarded():
            raise Unproxyable(f"it uses {name}")
        if classes and (isinstance(node, ast.Match) or _asks_type(node)):
            raise Unproxyable("it asks for the class of an object")
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    if asked & {"send", "throw", "value"} and any(
        isinstance(node, ast.Name) and node.id == "StopIteration" for node in nodes
    ):
        raise Unproxyable("it waits for the end of a generator that it sends to, or asks for what it returned")


def _forwarded() -> set[str]:
    """Special methods that mean the program's object, also when a test calls them by name."""
    return {name for name, value in vars(Remote).items() if callable(value)} - {"__init__", "__getattr__"}


def _asks_type(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("__class__", "__mro__", "__bases__", "__subclasses__")
    return isinstance(node, ast.Call) and len(node.args) == 1 and _names([node.func]) == {"type"}


def _types(node: ast.AST) -> list[ast.expr]:
    """Expressions in a node that must be classes, or objects of this process."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TYPE_TESTS:
        return node.args[1:]
    if isinstance(node, ast.ClassDef):
        return node.bases
    if isinstance(node, ast.ExceptHandler):
        return [node.type] if node.type is not None else []
    if isinstance(node, ast.Raise):
        return [node.exc] if node.exc is not None else []
    if isinstance(node, ast.With):
        return [item.context_expr for item in node.items]
    if isinstance(node, ast.MatchClass):
        return [node.cls]
    sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
    return [side for side in sides if not isinstance(side, ast.Call)] if any(map(_asks_type, sides)) else []


def _names(expressions: Sequence[ast.AST]) -> set[str]:
    return {node.id for each in expressions for node in ast.walk(each) if isinstance(node, ast.Name)}
