"""What a test reaches beyond the program's answers: state and files of a process; and what it reads more than once.

A test and its program have modules, files and warnings of their own each, so a test that sets such state, or looks at
what a program left there, is wrong in a process of its own. Which modules have none is a short and stable list, and
everything else of the standard library counts as what the two would share. All of it follows from the test's syntax.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping

_LIBRARY = sys.stdlib_module_names | {"numpy"}

# Modules that only compute, and names of others that do.
_COMPUTES = frozenset((
    "__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections", "colorsys",
    "contextlib", "copy", "csv", "datetime", "decimal", "difflib", "enum", "errno", "fnmatch", "fractions",
    "functools", "graphlib", "hashlib", "heapq", "hmac", "html", "ipaddress", "itertools", "json", "keyword", "math",
    "numbers", "numpy", "operator", "pprint", "queue", "random", "re", "reprlib", "secrets", "shlex", "statistics",
    "string", "struct", "textwrap", "time", "timeit", "types", "typing", "unicodedata", "unittest", "urllib.parse",
    "uuid", "zlib", "zoneinfo", "bz2.compress", "bz2.decompress", "gzip.compress", "gzip.decompress",
    "lzma.compress", "lzma.decompress", "io.UnsupportedOperation",
    "os.PathLike", "os.cpu_count", "os.curdir", "os.extsep", "os.fspath", "os.linesep", "os.name", "os.pardir",
    "os.pathsep", "os.sep", "os.strerror",
    "os.path.basename", "os.path.commonpath", "os.path.commonprefix", "os.path.dirname", "os.path.isabs",
    "os.path.join", "os.path.normpath", "os.path.sep", "os.path.split", "os.path.splitext",
    "sys.byteorder", "sys.exit", "sys.float_info", "sys.getsizeof", "sys.hash_info", "sys.implementation",
    "sys.int_info", "sys.maxsize", "sys.maxunicode", "sys.platform", "sys.version", "sys.version_info",
))  # fmt: skip
# What modules that compute have of state and files all the same.
_STATE = frozenset((
    "calendar.setfirstweekday", "csv.field_size_limit", "csv.register_dialect", "csv.unregister_dialect",
    "decimal.BasicContext", "decimal.DefaultContext", "decimal.ExtendedContext",
    "decimal.getcontext", "decimal.localcontext", "decimal.setcontext",
    "numpy.DataSource", "numpy.errstate", "numpy.fromfile", "numpy.genfromtxt", "numpy.get_printoptions",
    "numpy.geterr", "numpy.geterrcall", "numpy.lib", "numpy.load", "numpy.loadtxt", "numpy.memmap",
    "numpy.printoptions", "numpy.random.get_state", "numpy.random.set_state", "numpy.save", "numpy.savetxt",
    "numpy.savez", "numpy.savez_compressed", "numpy.set_printoptions", "numpy.seterr", "numpy.seterrcall",
    "random.getstate", "random.setstate", "re.purge", "time.tzset", "zoneinfo.reset_tzpath",
))  # fmt: skip
_ASKING, _SETTING = frozenset(("getattr", "hasattr")), frozenset(("setattr", "delattr"))
_LEAVES = (ast.Constant, ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def reaches(test: ast.Module, modules: Mapping[str, str]) -> str | None:
    """What of its process a test shares with the program, or None.

    Args:
        test: the test.
        modules: names that stand for modules though the test does not import them.
    """
    stands_for = {**modules, **dict(_imported(test))}
    nodes = [node for node in _walk(test) if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call)]
    whole = {*modules, *(name for name, path in stands_for.items() if path in _LIBRARY)}
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    asked = {id(_first(node, _ASKING)) for node in nodes}
    rebound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        target = _first(node, _SETTING)
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            target = node
        if target is not None and (name := _root(target)) in stands_for and name not in rebound:
            return f"it changes {stands_for[name]}"
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner and _root(node) in stands_for:
            path = _path(node, stands_for)
            if shared(path):
                return f"it uses {path}"
            if isinstance(node, ast.Name) and node.id in whole - rebound and id(node) not in asked:
                return f"it hands on {path}"
    return _patched(test)


def shared(path: str) -> bool:
    """Whether a dotted name of the library means state or files, of which each process has its own."""
    parts = path.split(".")
    prefixes = {".".join(parts[:size]) for size in range(1, len(parts) + 1)}
    if parts[0] not in _LIBRARY:
        return False
    return bool(prefixes & _STATE) or "__dict__" in parts or not prefixes & _COMPUTES


def used_again(test: ast.Module) -> frozenset[str]:
    """Names that the test reads twice without binding them in between, as the source goes, or in a loop."""
    found: set[str] = set()
    last: dict[str, bool] = {}  # whether the last that was done to a name was to bind it
    events = sorted(_events(test))
    for _, _, name, binds in events:
        if not binds and last.get(name) is False:
            found.add(name)
        last[name] = binds
    for loop in _walk(test):
        if isinstance(loop, _LOOPS):
            inside = [(name, binds) for _, _, name, binds in _events(loop)]
            found |= {name for name, binds in inside if not binds} - {name for name, binds in inside if binds}
    return frozenset(found)


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but constants and the like, which are most of a long test and of no interest here."""
    queue = [tree]
    while queue:
        node = queue.pop()
        yield node
        children = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else ast.iter_child_nodes(node)
        queue += [child for child in children if not isinstance(child, _LEAVES)]


def _events(tree: ast.AST) -> Iterator[tuple[int, int, str, bool]]:
    """(line, column, name, whether it is bound there)."""
    for node in _walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.col_offset, node.id, not isinstance(node.ctx, ast.Load)
        elif isinstance(node, ast.arg):
            yield node.lineno, node.col_offset, node.arg, True


def _imported(test: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, the dotted name that it stands for) of the test's imports; of `*` what the test uses of it."""
    used = {node.id for node in _walk(test) if isinstance(node, ast.Name)}
    for node in _walk(test):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"
                elif node.module.partition(".")[0] in _LIBRARY:
                    with contextlib.suppress(ImportError):
                        module = importlib.import_module(node.module)
                        public = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
                        yield from ((name, f"{node.module}.{name}") for name in used.intersection(public))


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _path(node: ast.AST, stands_for: Mapping[str, str]) -> str:
    """The dotted name of `np.random.rand`, as far as it is one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        parts = [node.attr, *parts] if isinstance(node, ast.Attribute) else []
        node = node.value
    return ".".join([stands_for[node.id], *parts]) if isinstance(node, ast.Name) else ""


def _first(node: ast.AST, functions: frozenset[str]) -> ast.expr | None:
    """The first argument of a call of one of these functions."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions and node.args:
        return node.args[0]
    return None


def _patched(test: ast.Module) -> str | None:
    """A function that the test puts in place of a built-in one, `input = lambda: "7"`: the program would call it."""
    for node in _walk(test):
        names: list[str] = []
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.FunctionDef) and node in test.body:
            names = [node.name]
        for name in names:
            if hasattr(builtins, name):
                return f"it replaces {name}"
    return None
