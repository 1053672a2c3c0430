"""What stands in the checker for an object that stayed in the program's process.

A `Remote` lets the program have no say in a comparison: it equals no plain value and takes part in no arithmetic with
one; only with another object of the program's is the program asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

NOTHING: Mapping[int | str, Any] = {}


class Asks(Protocol):
    """What a `Remote` reaches the program through."""

    def request(self, message: dict[str, Any], arguments: Mapping[int | str, Any] = NOTHING) -> Any:
        """The value of the program's reply."""

    def encode(self, value: object) -> object:
        """The tree of a value of the test's own."""


class Remote:
    """An object that stayed in the program's process."""

    __slots__ = ("_remote_link", "_remote_number", "_remote_type")
    _remote_link: Asks
    _remote_number: int
    _remote_type: str

    def __init__(self, link: Asks, number: int, kind: str) -> None:
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
