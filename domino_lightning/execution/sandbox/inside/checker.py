"""The trusted side of a check: test code runs here, and its calls of the program go to another process.

What comes back is data, or a `Remote` standing for an object that is none. A `Remote` lets the program have
no say in a comparison: it equals no plain value and takes part in no arithmetic with one; only with another object
of the program's is the program asked. Test code that needs more (`isinstance` with a class of the program's,
captured output, patched modules, …) is found by its own syntax, never by what the program does, and reported
as `unproxyable`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.peer import Gone, Peer
from domino_lightning.execution.sandbox.inside.program import PEER, Report

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

_NOTHING: Mapping[int | str, Any] = {}


class _Unproxyable(BaseException):
    """The test code cannot run in a process of its own; the message says why."""


def check(job: Report) -> Report:
    """Run `job["test"]` and report: passed, failed, error, memory, gone (ask the program), or unproxyable."""
    peer = Peer(PEER)
    try:
        try:
            tree = ast.parse(job["test"])
        except (SyntaxError, ValueError) as error:
            return {"status": "error", "detail": f"the test is not Python ({error})"}
        namespace = _namespace(tree, _parsed(job["code"]), peer)
        exec(compile(tree, "<test>", "exec", dont_inherit=True), namespace)
        peer.send({"o": "done"})
    except _Unproxyable as error:
        return {"status": "unproxyable", "detail": str(error)}
    except Gone as error:
        return {"status": "gone", "detail": str(error)}
    except AssertionError as error:
        return {"status": "failed", "detail": _located(error, job["test"])}
    except MemoryError:
        return {"status": "memory", "detail": "out of memory"}
    except BaseException as error:
        return {"status": "error", "detail": _located(error, job["test"])}
    return {"status": "passed"}


def _located(error: BaseException, test: str) -> str:
    """The error with the test's own line, which says more than most messages of assertions."""
    lines, line = test.splitlines(), 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<test>":
            line = trace.tb_lineno
        trace = trace.tb_next
    message = wire.message_of(error)
    source = f" at `{lines[line - 1].strip()[:200]}`" if 0 < line <= len(lines) else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{source}"


def _parsed(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])  # the program's own process says what is wrong with it


def _namespace(test: ast.Module, program: ast.Module, peer: Peer) -> dict[str, Any]:
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
    link = _Link(peer, namespace)
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
            raise _Unproxyable("it awaits")
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
                raise _Unproxyable(f"it uses the class {inner.id}")
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in _NEEDS_PROCESS and name not in defined:
            raise _Unproxyable(f"it uses {name}")


class _Link:
    """Requests to the program's process."""

    def __init__(self, peer: Peer, namespace: dict[str, Any]) -> None:
        self.peer, self.namespace = peer, namespace
        self.names: frozenset[str] = frozenset()  # of the program's, that the test uses
        self._remotes: dict[int, Remote] = {}

    def request(self, message: Report, arguments: Mapping[int | str, Any] = _NOTHING) -> Any:
        """The value of the reply; arguments, by place or name, that the program changed are changed here too.

        Raises:
            Exception: what the program raised, as its built-in class.
        """
        self.peer.send(message)
        reply = self.peer.receive()
        try:
            for place, tree in reply.get("m", ()):
                _overwrite(arguments[place], self.decode(tree))
            for name, tree in reply.get("g", {}).items():
                if name in self.names:
                    self.namespace[name] = self.decode(tree)
            if "e" in reply:
                raise self._error(*reply["e"])
            if "same" in reply:
                return arguments[reply["same"]]
            value = reply["v"]
            if message["o"] == "names":
                return {name: self.decode(tree) for name, tree in value.items()}
            return self.decode(value)
        except (wire.NotPlain, LookupError, AttributeError) as error:
            if "e" in reply:
                raise
            raise TypeError(f"the program answered with {error}") from None

    def decode(self, tree: object) -> Any:
        """A value of the program's."""
        return wire.decode(tree, self._remote)

    def _remote(self, content: Any) -> Remote:
        """The same one for the same object, so that `is` holds."""
        number = int(content[0])
        return self._remotes.setdefault(number, Remote(self, number, str(content[1])))

    def encode(self, value: object) -> object:
        """A value of the test's own."""
        return wire.encode(value, _handle)

    def _error(self, name: str, message: str, arguments: object = None) -> BaseException:
        """The program's exception; an instance of a built-in class and nothing else."""
        if not name:
            return TypeError(f"returned {message}")
        kind = getattr(builtins, name) if isinstance(name, str) else None
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            return TypeError("the program answered with no exception")
        if issubclass(kind, StopIteration | StopAsyncIteration):
            return RuntimeError(f"the program raised {name}")  # not to end the test's loop: `all(map(f, x))` would hold
        if isinstance(arguments, list):
            with contextlib.suppress(Exception):  # whatever these arguments are
                made: BaseException = kind(*self.decode(arguments))
                if str(made) == message:
                    return made
        try:
            return kind(message)
        except TypeError:  # UnicodeDecodeError wants five arguments
            return ValueError(message) if issubclass(kind, ValueError) else RuntimeError(message)


def _handle(value: object) -> object:
    if type(value) is Remote:
        return {"h": value._remote_number}
    raise _Unproxyable(f"it passes a {type(value).__name__}")


def _overwrite(target: Any, now: Any) -> None:
    """Give a mutable argument the content that the program left in its copy."""
    if type(target) is not type(now):
        raise wire.NotPlain("an argument of another type")
    if isinstance(target, list | bytearray):
        target[:] = now
    elif isinstance(target, dict | set):
        target.clear()
        target.update(now)


class Remote:
    """An object that stayed in the program's process."""

    __slots__ = ("_remote_link", "_remote_number", "_remote_type")
    _remote_link: _Link
    _remote_number: int
    _remote_type: str

    def __init__(self, link: _Link, number: int, kind: str) -> None:
        object.__setattr__(self, "_remote_link", link)
        object.__setattr__(self, "_remote_number", number)
        object.__setattr__(self, "_remote_type", kind)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it in the program's process."""
        encode = self._remote_link.encode
        trees = [encode(argument) for argument in arguments]
        keywords = {name: encode(argument) for name, argument in named.items()}
        message = {"o": "call", "h": self._remote_number, "a": trees, "k": keywords}
        places: dict[int | str, Any] = dict([*enumerate(arguments), *named.items()])
        return self._remote_link.request(message, places)

    def __getattr__(self, name: str) -> Any:
        return self._remote_link.request({"o": "get", "h": self._remote_number, "n": name})

    def __setattr__(self, name: str, value: Any) -> None:
        tree = self._remote_link.encode(value)
        self._remote_link.request({"o": "set", "h": self._remote_number, "n": name, "v": tree})

    def __getitem__(self, key: Any) -> Any:
        return self._remote_link.request({"o": "item", "h": self._remote_number, "k": self._remote_link.encode(key)})

    def __setitem__(self, key: Any, value: Any) -> None:
        encode = self._remote_link.encode
        self._remote_link.request({"o": "store", "h": self._remote_number, "k": encode(key), "v": encode(value)})

    def __iter__(self) -> Iterator[Any]:
        found = self._remote_link.request({"o": "every", "h": self._remote_number})
        return iter(found if isinstance(found, Iterator) else ())

    def __next__(self) -> Any:
        found = self._remote_link.request({"o": "next", "h": self._remote_number})
        if type(found) is not list or not found:
            raise StopIteration
        return found[0]

    def _more(self) -> Any:
        """The next items of an iterator."""
        return self._remote_link.request({"o": "more", "h": self._remote_number})

    def _ask(self, function: str, kind: type) -> Any:
        found = self._remote_link.request({"o": "ask", "h": self._remote_number, "f": function})
        if type(found) is not kind:
            raise TypeError(f"{function}() of a {self._remote_type} gave no {kind.__name__}")
        return found

    def __len__(self) -> int:
        return int(self._ask("len", int))

    def __bool__(self) -> bool:
        return bool(self._ask("bool", bool))

    def __str__(self) -> str:
        return str(self._ask("str", str))

    def __repr__(self) -> str:
        return str(self._ask("repr", str))

    def __hash__(self) -> int:
        return hash((Remote, self._remote_number))

    def __eq__(self, other: object) -> bool:
        if type(other) in (list, dict):  # a subclass of the program's: what it holds decides, not its `__eq__`
            return bool(self._remote_link.request({"o": "plain", "h": self._remote_number}) == other)
        return self._with("eq", other) is True

    def _with(self, operation: str, other: object) -> Any:
        """What an operator makes of two of the program's own objects."""
        if type(other) is not Remote:
            return NotImplemented
        message = {"o": "operate", "f": operation, "h": self._remote_number, "w": other._remote_number}
        return self._remote_link.request(message)

    def __lt__(self, other: object) -> Any:
        return self._with("lt", other)

    def __le__(self, other: object) -> Any:
        return self._with("le", other)

    def __add__(self, other: object) -> Any:
        return self._with("add", other)

    def __sub__(self, other: object) -> Any:
        return self._with("sub", other)

    def __mul__(self, other: object) -> Any:
        return self._with("mul", other)

    def __truediv__(self, other: object) -> Any:
        return self._with("truediv", other)
