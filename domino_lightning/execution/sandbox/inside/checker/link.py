"""Requests from a checker to the program's process, and what comes back: data, or a `Remote` for what is none."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Mapping
from typing import Any

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.arrays import is_array, overwrite_array
from domino_lightning.execution.sandbox.inside.checker.remote import (
    NOTHING,
    Remote,
    Unproxyable,
    is_class_name,
    stand_in,
)
from domino_lightning.execution.sandbox.inside.peer import Peer
from domino_lightning.execution.sandbox.inside.program import Fields
from domino_lightning.execution.sandbox.inside.values import make_error

_MAX_KINDS = 1000


class Link:
    """Requests to the program's process.

    Args:
        peer: where to.
        namespace: of the test.
        attributes: that the test asks for.
    """

    def __init__(self, peer: Peer, namespace: dict[str, Any], attributes: frozenset[str]) -> None:
        self.peer, self.namespace, self.attributes = peer, namespace, attributes
        self.names: frozenset[str] = frozenset()  # of the program's, that the test uses
        self.equals_nothing = False
        self.refused: Unproxyable | None = None
        self._remotes: dict[int, Remote] = {}
        self._kinds: dict[tuple[str, str], type[Remote]] = {}
        self._errors: list[BaseException] = []  # that the program gave

    def fetch(self, names: frozenset[str], imports: list[str]) -> dict[str, Any]:
        """What the program has by these names, after it ran the test's own imports, which it may rest on."""
        message = {"o": "names", "n": sorted(names), "i": imports, "m": sorted(self.attributes)}
        found = self.request(message)
        self.names = names
        for name, value in found.items():
            if isinstance(value, Remote) and is_class_name(name):
                value._remote_mark("named")
        return {name: value for name, value in found.items() if name in names}

    def mentions(self, name: str) -> bool:
        """Whether the test asks for an attribute of this name."""
        return name in self.attributes

    def refuse(self, why: str) -> Unproxyable:
        """The exception to raise where the test cannot be judged apart; what it does from here on does not count."""
        self.refused = self.refused or Unproxyable(why)
        return self.refused

    def request(self, message: Fields, arguments: Mapping[int | str, Any] = NOTHING) -> Any:
        """The value of the reply; arguments, by place or name, that the program changed are changed here too.

        Raises:
            Exception: what the program raised, as its built-in class.
        """
        if self.refused is not None:
            raise self.refused
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
        return wire.decode(tree, self._remote, self._errors.append)

    def _remote(self, content: Any) -> Remote:
        """The same one for the same object, so that `is` holds."""
        number, kind, base = int(content[0]), str(content[1]), "".join(map(str, content[2:]))
        if number not in self._remotes:
            if (kind, base) not in self._kinds and len(self._kinds) < _MAX_KINDS:
                self._kinds[kind, base] = stand_in(kind, base)
            self._remotes[number] = self._kinds.get((kind, base), Remote)(self, number, kind)
        return self._remotes[number]

    def encode(self, value: object) -> object:
        """The tree of a value of the test's own."""
        try:
            return wire.encode(value, self._handle, keeps=self._is_own_object)
        except wire.TooLarge as error:
            raise self.peer.flood(str(error)) from None

    def _is_own_object(self, value: object) -> bool:
        """Whether it is something that the test made of which a copy is another: an exception, what can change."""
        if type(value) in wire.STAYING:
            return True
        return isinstance(value, BaseException) and not any(value is each for each in self._errors)

    def _handle(self, value: object) -> object:
        if isinstance(value, Remote):
            return {"h": value._remote_number}
        raise self.refuse(f"it passes a {type(value).__name__}")

    def _error(self, name: str, message: str, arguments: object = None) -> BaseException:
        """The program's exception; an instance of a built-in class and nothing else."""
        if not name:
            return self.peer.flood(message)
        kind = getattr(builtins, name) if isinstance(name, str) else None
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            return TypeError("the program answered with no exception")
        if issubclass(kind, StopIteration | StopAsyncIteration):
            return RuntimeError(f"the program raised {name}")  # not to end the test's loop: `all(map(f, x))` would hold
        given: Any = None
        with contextlib.suppress(Exception):  # whatever these arguments are
            given = self.decode(arguments)
        return make_error(kind, message, given)


def _overwrite(target: Any, now: Any) -> None:
    """Give a mutable argument the content that the program left in its copy."""
    if type(target) is not type(now):
        raise wire.NotPlain("an argument of another type")
    if isinstance(target, list | bytearray):
        target[:] = now
    elif isinstance(target, dict | set):
        target.clear()
        target.update(now)
    elif is_array(target):
        try:
            overwrite_array(target, now)
        except ValueError as error:
            raise wire.NotPlain(str(error)) from None
