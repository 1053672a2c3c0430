"""Requests from a checker to the program's process, and what comes back: data, or a `Remote` for what is none."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Mapping
from typing import Any

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.checker.remote import NOTHING, Remote
from domino_lightning.execution.sandbox.inside.peer import Peer
from domino_lightning.execution.sandbox.inside.program import Report


class Unproxyable(BaseException):
    """The test code cannot run in a process of its own; the message says why."""


class Link:
    """Requests to the program's process."""

    def __init__(self, peer: Peer, namespace: dict[str, Any]) -> None:
        self.peer, self.namespace = peer, namespace
        self.names: frozenset[str] = frozenset()  # of the program's, that the test uses
        self._remotes: dict[int, Remote] = {}

    def request(self, message: Report, arguments: Mapping[int | str, Any] = NOTHING) -> Any:
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
    raise Unproxyable(f"it passes a {type(value).__name__}")


def _overwrite(target: Any, now: Any) -> None:
    """Give a mutable argument the content that the program left in its copy."""
    if type(target) is not type(now):
        raise wire.NotPlain("an argument of another type")
    if isinstance(target, list | bytearray):
        target[:] = now
    elif isinstance(target, dict | set):
        target.clear()
        target.update(now)
