"""The program's side of a check: its functions are called with plain data and answer with plain data.

Objects that are no data stay here; the checker knows them by number.
"""

from __future__ import annotations

import copy
import math
import operator
import types
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.arrays import is_array
from domino_lightning.execution.sandbox.inside.decoding import decode
from domino_lightning.execution.sandbox.inside.encoding import MUTABLE, STAYING, base_value, encode
from domino_lightning.execution.sandbox.inside.exceptions import builtin_base, fields_of, genuine_names
from domino_lightning.execution.sandbox.inside.peer import Peer
from domino_lightning.execution.sandbox.inside.program import PEER, Fields

_DATA = (list, dict, set, bytearray, type(None), bool, int, float, str, tuple)
_BASES = (int, float, str, tuple)  # subclasses of these are sent as data, unless the test asks for more of them
# What the checker may apply to objects, by name: these, and what `operator` has.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        len, str, repr, bool, int, float, complex, hash, round, format, reversed, divmod, pow, bytes, dir,
        math.floor, math.ceil, math.trunc, copy.copy, copy.deepcopy,
    )
}  # fmt: skip
_FUNCTIONS.update({name: getattr(operator, name) for name in operator.__all__})


def serve_calls(namespace: dict[str, Any]) -> Fields:
    """Answer requests until the checker says that it is done."""
    peer, objects = Peer(PEER), _Objects()
    answers = _Answers(namespace, objects)
    while True:
        request = peer.receive()
        if request["o"] == "done":
            return {"status": "served"}
        try:
            reply = getattr(answers, request["o"])(request)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except (wire.NotPlain, BaseException) as error:
            reply = objects.failure(error)
        peer.send(reply)


class _Objects:
    """What the checker knows by number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []
        self._open: set[int] = set()  # exceptions that are being encoded
        self._asked: frozenset[str] = frozenset()

    def expect(self, attributes: frozenset[str]) -> None:
        """Take note of the attributes that the test asks for: values that have one stay objects."""
        self._asked = attributes

    def number(self, value: object) -> object:
        """The tree of a handle."""
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._held)
            self._held.append(value)
        error = self._error(value, number) if isinstance(value, BaseException) else []
        return {"h": [number, wire.message_of(type(value).__name__), *error]}

    def _error(self, error: BaseException, number: int) -> list[object]:
        """What makes an exception of a handle: its genuine classes, its arguments, its fields."""
        if number in self._open:
            raise wire.TooLarge("an exception that holds itself")
        self._open.add(number)
        try:
            kind, arguments = type(error), self.encode([*vars(BaseException)["args"].__get__(error)])
            fields = fields_of(error, builtin_base(kind), self._asked)
            return [genuine_names(kind), arguments, {name: self.encode(each) for name, each in fields.items()}]
        finally:
            self._open.discard(number)

    def failure(self, error: BaseException) -> Fields:
        """The reply that says what was raised, or what is too large to be sent."""
        if isinstance(error, wire.NotPlain):
            return {"large": str(error)}
        BaseException.with_traceback(error, None)  # which would keep every frame of the call
        try:
            return {"e": self.encode(error)}
        except wire.NotPlain as failed:
            return {"large": str(failed)}

    def held(self, content: Any) -> Any:
        return self._held[content[0] if isinstance(content, list) else content]

    def encode(self, value: object, known: list[Any] | None = None) -> object:
        return encode(value, self.number, lazily=True, keeps=self._keeps, asked=self._asked, known=known)

    def decode(self, tree: object, known: list[Any] | None = None) -> Any:
        return decode(tree, self.held, known=known)

    def _keeps(self, value: Any) -> bool:
        """Whether it is more than its data to this test: a generator that is sent to, a tuple with named fields."""
        if isinstance(value, types.GeneratorType):
            return bool(self._asked & {"send", "throw", "close"})
        if type(value).__module__ == "numpy":
            return False
        if type(value) in STAYING:
            return True
        base = next((base for base in _BASES if isinstance(value, base)), None)
        return base is not None and any(hasattr(value, name) and not hasattr(base, name) for name in self._asked)


class _Answers:
    """A method for each kind of request."""

    def __init__(self, namespace: dict[str, Any], objects: _Objects) -> None:
        self._namespace, self._objects = namespace, objects
        self._run: Callable[..., None] = exec
        self._known: dict[str, object] = {}

    def names(self, request: Any) -> Fields:
        """Imports of the test that the program may rest on, then the values of names."""
        self._objects.expect(frozenset(request["m"]))
        for statement in request["i"]:
            try:
                self._run(statement, self._namespace)
            except ImportError:
                continue  # the checker says so, if it matters
        found = {name: self._namespace[name] for name in request["n"] if name in self._namespace}
        trees = {name: self._objects.encode(value) for name, value in found.items()}
        self._known = {name: tree for name, tree in trees.items() if type(found[name]) in _DATA}
        return {"v": trees}

    def call(self, request: Any) -> Fields:
        """A call; what it changed of its arguments, and global variables, go back with the result."""
        function = self._objects.held(request["h"])
        known: list[Any] = []
        arguments, named = self._objects.decode(request["a"], known)
        held = {place: copy.copy(each) for place, each in enumerate(known) if _is_mutable(each)}
        size = len(known)
        reply: Fields
        try:
            reply = {"v": self._objects.encode(function(*arguments, **named), known)}
        except Exception as error:
            del known[size:]  # what was encoded before an iterator failed is not sent
            reply = self._objects.failure(error)
        changed = [place for place, was in held.items() if not _holds_the_same(known[place], was)]
        if changed:
            copies = [copy.copy(known[place]) for place in changed]  # what these hold stays what it is
            reply["m"] = [changed, self._objects.encode(copies, known)]
        moved = {}
        for name, tree in self._known.items():
            now = self._objects.encode(self._namespace.get(name))
            if now != tree:
                moved[name] = self._known[name] = now
        return {**reply, "g": moved}

    def get(self, request: Any) -> Fields:
        """An attribute."""
        return {"v": self._objects.encode(getattr(self._objects.held(request["h"]), request["n"]))}

    def set(self, request: Any) -> Fields:
        """Set an attribute."""
        setattr(self._objects.held(request["h"]), request["n"], self._objects.decode(request["v"]))
        return {"v": None}

    def drop(self, request: Any) -> Fields:
        """Delete an attribute."""
        delattr(self._objects.held(request["h"]), request["n"])
        return {"v": None}

    def every(self, request: Any) -> Fields:
        """An iterator of an object's."""
        values = iter(self._objects.held(request["h"]))
        return {"v": self._objects.encode(chain(values))}

    def more(self, request: Any) -> Fields:
        """The next items of an iterator, many at a time; fewer than that are the last."""
        values = islice(self._objects.held(request["h"]), wire.MANY)
        return {"v": self._objects.encode([*values])}

    def next(self, request: Any) -> Fields:
        """The next item, in a list, which is empty after the last."""
        try:
            return {"v": self._objects.encode([next(self._objects.held(request["h"]))])}
        except StopIteration:
            return {"v": []}

    def plain(self, request: Any) -> Fields:
        """What an instance of a subclass of plain data holds; of anything else nothing."""
        value = base_value(self._objects.held(request["h"]))
        return {"v": encode(value, self._objects.number, lazily=True)}

    def apply(self, request: Any) -> Fields:
        """What an operator or a built-in function makes of objects, as the program sees it."""
        arguments = [self._objects.decode(tree) for tree in request["a"]]
        return {"v": self._objects.encode(_FUNCTIONS[request["f"]](*arguments))}


def _is_mutable(value: object) -> bool:
    return type(value) in MUTABLE or is_array(value)


def _holds_the_same(now: Any, was: Any) -> bool:
    """Whether a container holds the very objects that its copy held before a call."""
    if is_array(now):
        return (now.dtype, now.shape, now.tobytes()) == (was.dtype, was.shape, was.tobytes())
    same = len(now) == len(was) and all(map(operator.is_, now, was))
    return same and (not isinstance(now, dict) or all(map(operator.is_, now.values(), was.values())))
