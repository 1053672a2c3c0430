"""Requests from a checker to the program's process, and what comes back: data, or a `Remote` for what is none."""

from __future__ import annotations

import collections
from typing import Any

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.arrays import is_array, overwrite_array
from domino_lightning.execution.sandbox.inside.checker.iterators import is_used_later
from domino_lightning.execution.sandbox.inside.checker.remote import (
    Remote,
    Unproxyable,
    is_class_name,
    stand_in,
)
from domino_lightning.execution.sandbox.inside.decoding import decode
from domino_lightning.execution.sandbox.inside.encoding import STAYING, encode, is_iterator
from domino_lightning.execution.sandbox.inside.exceptions import genuine_class, set_fields
from domino_lightning.execution.sandbox.inside.peer import Peer
from domino_lightning.execution.sandbox.inside.program import Fields

_MAX_KINDS = 1000


class Link:
    """Requests to the program's process.

    Args:
        peer: where to.
        namespace: of the test.
        attributes: that the test asks for.
        again: names that the test reads more than once.
    """

    def __init__(
        self, peer: Peer, namespace: dict[str, Any], attributes: frozenset[str], again: frozenset[str] = frozenset()
    ) -> None:
        self.peer, self.namespace, self.attributes = peer, namespace, attributes
        self._again = again
        self.names: frozenset[str] = frozenset()  # of the program's, that the test uses
        self.equals_nothing = False
        self.refused: Unproxyable | None = None
        self._remotes: dict[int, Remote] = {}
        self._kinds: dict[tuple[str, type[BaseException] | None], type[Remote]] = {}
        self._errors: list[BaseException] = []  # that the program gave
        # Of these what goes back; causes and contexts may be this process's own by then.
        self._fields = frozenset(name for name in attributes if not name.startswith("__"))

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

    def request(self, message: Fields, known: list[Any] | None = None) -> Any:
        """The value of the reply; what the program changed of what it was given is changed here too.

        Args:
            message: what to ask.
            known: what can change in the message, in order.

        Raises:
            Exception: what the program raised, of its built-in class or a class derived from that.
        """
        if self.refused is not None:
            raise self.refused
        self.peer.send(message)
        reply = self.peer.receive()
        if "large" in reply:
            raise self.peer.flood(str(reply["large"]))
        try:
            if "e" not in reply and message["o"] == "names":
                return {name: self.decode(tree) for name, tree in reply["v"].items()}
            known = [] if known is None else known
            value = self.decode(reply["e"]) if "e" in reply else self.decode(reply["v"], known)
            if "m" in reply:
                places, tree = reply["m"]
                for place, now in zip(places, self.decode(tree, known), strict=True):
                    _overwrite(known[place], now)
            for name, tree in reply.get("g", {}).items():
                if name in self.names:
                    self.namespace[name] = self.decode(tree)
        except (wire.NotPlain, LookupError, AttributeError, TypeError, ValueError) as error:
            raise TypeError(f"the program answered with {error}") from None
        if "e" in reply:
            raise _raised(value)
        return value

    def decode(self, tree: object, known: list[Any] | None = None) -> Any:
        """A value of the program's."""
        return decode(tree, self._remote, self._errors.append, known)

    def _remote(self, content: Any) -> Remote:
        """The same one for the same object, so that `is` holds."""
        number, kind, *rest = content
        if number not in self._remotes:
            names, arguments, fields = rest or ([], [], {})
            kind, base = str(kind), genuine_class(map(str, names))
            if (kind, base) not in self._kinds:
                kind = kind if len(self._kinds) < _MAX_KINDS else ""
            if (kind, base) not in self._kinds:
                self._kinds[kind, base] = stand_in(kind, base)
            made = self._kinds[kind, base](self, int(number), kind, *self.decode(arguments))
            if isinstance(made, BaseException):
                set_fields(made, {name: self.decode(tree) for name, tree in fields.items() if name in self.attributes})
            self._remotes[number] = made
        return self._remotes[number]

    def encode(self, value: object, known: list[Any] | None = None) -> object:
        """The tree of a value of the test's own."""
        try:
            return encode(value, self._handle, keeps=self._is_own_object, asked=self._fields, known=known)
        except wire.TooLarge as error:
            raise self.peer.flood(str(error)) from None

    def _is_own_object(self, value: object) -> bool:
        """Whether it is something that the test made of which a copy is another.

        Such are an exception, what can change, an iterator of which the test may read the rest.
        """
        if type(value) in STAYING or (is_iterator(value) and is_used_later(value, self._again)):
            return True
        return isinstance(value, BaseException) and not any(value is each for each in self._errors)

    def _handle(self, value: object) -> object:
        if isinstance(value, Remote):
            return {"h": value._remote_number}
        raise self.refuse(f"it passes a {type(value).__name__}")


def _raised(error: object) -> BaseException:
    """What the program raised; nothing that ends the test's loop: `all(map(f, x))` would hold."""
    if not isinstance(error, BaseException):
        return TypeError("the program answered with no exception")
    if isinstance(error, StopIteration | StopAsyncIteration):
        return RuntimeError(f"the program raised {type(error).__name__}")
    return error


def _overwrite(target: Any, now: Any) -> None:
    """Give something that the program was given the content that it left in its copy."""
    if type(target) is not type(now):
        raise wire.NotPlain("an argument of another type")
    if isinstance(target, list | bytearray):
        target[:] = now
    elif isinstance(target, collections.deque):
        target.clear()
        target.extend(now)
    elif isinstance(target, dict | set):
        target.clear()
        target.update(now)
    elif is_array(target):
        try:
            overwrite_array(target, now)
        except ValueError as error:
            raise wire.NotPlain(str(error)) from None
