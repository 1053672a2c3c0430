"""The program's side of a check: its functions are called with plain data and answer with plain data.

Objects that are no data stay here; the checker knows them by number.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from domino_lightning.evaluation.sandbox.inside import wire
from domino_lightning.evaluation.sandbox.inside.peer import Peer
from domino_lightning.evaluation.sandbox.inside.program import PEER, Report

_MUTABLE = (list, dict, set, bytearray)


def serve_calls(namespace: dict[str, Any]) -> Report:
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
            reply = {"e": ["", str(error)] if isinstance(error, wire.NotPlain) else wire.builtin_error(error)}
        peer.send(reply)


class _Objects:
    """What the checker knows by number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []

    def number(self, value: object) -> object:
        """The tree of a handle."""
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._held)
            self._held.append(value)
        return {"h": [number, wire.message_of(type(value).__name__)]}

    def held(self, content: Any) -> Any:
        return self._held[content[0] if isinstance(content, list) else content]

    def encode(self, value: object) -> object:
        return wire.encode(value, self.number)

    def decode(self, tree: object) -> Any:
        return wire.decode(tree, self.held)


class _Answers:
    """A method for each kind of request."""

    def __init__(self, namespace: dict[str, Any], objects: _Objects) -> None:
        self._namespace, self._objects = namespace, objects
        self._run: Callable[..., None] = exec

    def names(self, request: Any) -> Report:
        """Imports of the test that the program may rest on, then the values of names."""
        for statement in request["i"]:
            try:
                self._run(statement, self._namespace)
            except ImportError:
                continue  # the checker says so, if it matters
        found = {name: self._namespace[name] for name in request["n"] if name in self._namespace}
        return {"v": {name: self._objects.encode(value) for name, value in found.items()}}

    def call(self, request: Any) -> Report:
        """A call; arguments that it changed go back with the result."""
        function = self._objects.held(request["h"])
        arguments = [self._objects.decode(tree) for tree in request["a"]]
        named = {name: self._objects.decode(tree) for name, tree in request["k"].items()}
        reply: Report
        try:
            value = function(*arguments, **named)
            same = [place for place, argument in enumerate(arguments) if argument is value and type(value) in _MUTABLE]
            reply = {"same": same[0]} if same else {"v": self._objects.encode(value)}
        except Exception as error:
            reply = {"e": ["", str(error)] if isinstance(error, wire.NotPlain) else wire.builtin_error(error)}
        changed = []
        for place, (tree, argument) in enumerate(zip(request["a"], arguments, strict=True)):
            if type(argument) in _MUTABLE:
                now = self._objects.encode(argument)
                if now != tree:
                    changed.append([place, now])
        return {**reply, "m": changed}

    def get(self, request: Any) -> Report:
        """An attribute."""
        return {"v": self._objects.encode(getattr(self._objects.held(request["h"]), request["n"]))}

    def set(self, request: Any) -> Report:
        """Set an attribute."""
        setattr(self._objects.held(request["h"]), request["n"], self._objects.decode(request["v"]))
        return {"v": None}

    def item(self, request: Any) -> Report:
        """An item."""
        return {"v": self._objects.encode(self._objects.held(request["h"])[self._objects.decode(request["k"])])}

    def every(self, request: Any) -> Report:
        """All that iterating over an object gives."""
        values = islice(self._objects.held(request["h"]), wire.MAX_NODES)
        return {"v": self._objects.encode([*values])}

    def ask(self, request: Any) -> Report:
        """`len`, `str`, `repr` or `bool` of an object."""
        functions: dict[str, Callable[[Any], object]] = {"len": len, "str": str, "repr": repr, "bool": bool}
        function = functions[request["f"]]
        return {"v": self._objects.encode(function(self._objects.held(request["h"])))}

    def equal(self, request: Any) -> Report:
        """Whether two of the program's own objects are equal, as the program sees it."""
        return {"v": bool(self._objects.held(request["h"]) == self._objects.held(request["w"]))}
