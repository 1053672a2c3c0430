"""What a Python source file says without being run: the names that it binds, and what it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_IMPORTERS = {"import_module", "__import__"}  # by a name that is given as text
_RUNNERS = {"exec", "run_path", "run_module", "spec_from_file_location", "SourceFileLoader"}


class Outline(NamedTuple):
    """What a source file says without being run.

    Attributes:
        names: bound at the top level; with `*` or `__getattr__` among them, there may be others.
        exported: the texts in `__all__`.
        imports: (level, module, name) as in `from ..module import name`; without a name for `import module`.
        computed: whether it imports or runs what only running it tells.
    """

    names: frozenset[str] = frozenset()
    exported: tuple[str, ...] = ()
    imports: tuple[tuple[int, str, str], ...] = ()
    computed: bool = False


@lru_cache(maxsize=1024)
def outline(source: bytes) -> Outline:
    """The outline of a source file; an empty one where it is not valid Python, as loading it will say."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return Outline()
    names: set[str] = set()
    exported: list[str] = []
    for node in _top_level(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            texts = (each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant))
            exported += [text for text in texts if isinstance(text, str)]
    imports: list[tuple[int, str, str]] = []
    computed = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [(node.level, node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if called in _IMPORTERS and isinstance(given, str):
                bare = given.lstrip(".")
                imports.append((len(given) - len(bare), bare, ""))
            computed |= called in _RUNNERS or (called in _IMPORTERS and given is None)
    return Outline(frozenset(names), tuple(exported), tuple(imports), computed)


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that bind names of the module: not those inside functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _top_level(child)
