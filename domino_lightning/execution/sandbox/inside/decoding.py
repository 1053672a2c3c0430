"""Trees as values, see `wire.py`."""

from __future__ import annotations

import array
import collections
import types
from collections.abc import Callable, Iterator
from typing import Any

from domino_lightning.execution.sandbox.inside.arrays import decode_array, decode_matrix, decode_scalar
from domino_lightning.execution.sandbox.inside.exceptions import make_error, set_fields
from domino_lightning.execution.sandbox.inside.values import PARSERS, named
from domino_lightning.execution.sandbox.inside.wire import (
    FLAT,
    MANY,
    MAX_DEPTH,
    Handle,
    NotPlain,
    TooLarge,
    changes,
    deeply,
)


def decode(
    tree: object,
    handle: Handle | None = None,
    note: Callable[[Any], object] = lambda error: None,
    known: list[Any] | None = None,
) -> Any:
    """The value of a tree from another process.

    Args:
        tree: what `loads` gave.
        handle: makes the stand-in of an object that stayed in the other process.
        note: is told of every exception in it.
        known: what can change and was sent before, in order; what this tree brings is put behind it.

    Raises:
        NotPlain: it is no tree that `encode` makes.
    """
    try:
        with deeply():
            return _Decoder(handle, note, [] if known is None else known).value(tree, 0)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, ImportError) as error:
        raise NotPlain(f"no plain value ({type(error).__name__}: {error})") from None


class _Decoder:
    """One call of `decode`."""

    def __init__(self, handle: Handle | None, note: Callable[[Any], object], known: list[Any]) -> None:
        self.handle, self.note, self.known = handle, note, known

    def value(self, tree: Any, depth: int) -> Any:
        kind = type(tree)
        if kind is not list and kind is not dict:
            return tree
        found = self._data(tree, kind, depth)
        if changes(tree):
            self.known.append(found)
        return found

    def _data(self, tree: Any, kind: type, depth: int) -> Any:
        """What no scalar stands for."""
        if depth > 2 * MAX_DEPTH:  # the pairs of a dict are lists in its tree
            raise TooLarge(f"nested more than {MAX_DEPTH} deep")
        if kind is list:
            return list(tree) if set(map(type, tree)) <= FLAT else self._items(tree, depth + 1)
        ((tag, content),) = tree.items()
        if tag == "=":
            return self.known[content]
        if tag == "v=":
            return _VIEWS[content[0]](self.known[content[1]])
        if tag == "df":
            made: Any = collections.defaultdict(self.value(content[0], depth + 1))
            made.update([self._items(pair, depth + 2) for pair in content[1]])
            return made
        if tag in _MAPPINGS:
            return _MAPPINGS[tag]([self._items(pair, depth + 2) for pair in content])
        if tag in _BUILDERS:
            return _BUILDERS[tag](self._items(content, depth + 1))
        if tag == "a":
            return decode_array(content, lambda item: self.value(item, depth + 1))
        if tag == "am":
            return decode_matrix(content, lambda item: self.value(item, depth + 1))
        if tag == "n":
            return decode_scalar(content, lambda item: self.value(item, depth + 1))
        if tag == "x":
            return PARSERS[content[0]](content[1])
        if tag == "A":
            return array.array(content[0], self._items(content[1], depth + 1))
        if tag == "o":
            return named(content)
        if tag == "E":
            kind_of, message, trees, fields = content
            error: Any = named(kind_of)
            if not (isinstance(error, type) and issubclass(error, BaseException)):
                raise ValueError("no exception")
            made = make_error(error, str(message), self._items(trees, depth + 1))
            set_fields(made, {name: self.value(each, depth + 1) for name, each in fields.items()})
            self.note(made)
            return made
        if tag == "i":
            return int(content, 16)
        if tag == "c":
            return complex(float(content[0]), float(content[1]))
        if tag == "b":
            return content.encode("latin-1")
        if tag == "ba":
            return bytearray(content.encode("latin-1"))
        if self.handle is None:
            raise KeyError(tag)
        if tag == "L":
            return _lazily(self._items(content[0], depth + 1), self.handle(content[1]["h"]))
        return self.handle({"h": content}[tag])

    def _items(self, trees: Any, depth: int) -> list[Any]:
        return [self.value(tree, depth) for tree in trees]


def is_fetched(value: object) -> bool:
    """Whether it is an iterator that `decode` made."""
    return isinstance(value, types.GeneratorType) and value.gi_code is _lazily.__code__


def _lazily(first: list[Any], rest: Any = None) -> Iterator[Any]:
    """The first items of an iterator, then those that its stand-in fetches."""
    yield from first
    while rest is not None and type(found := rest._remote_more()) is list:
        yield from found
        if len(found) < MANY:
            return


_MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "d": dict,
    "ns": lambda pairs: types.SimpleNamespace(**dict(pairs)),
    "dm": lambda pairs: types.MappingProxyType(dict(pairs)),
    "dc": lambda pairs: collections.Counter(dict(pairs)),
    "do": collections.OrderedDict,
    "dd": lambda pairs: collections.defaultdict(None, pairs),
}
_VIEWS: dict[str, Callable[[dict[Any, Any]], Any]] = {"dk": dict.keys, "dv": dict.values, "di": dict.items}
_BUILDERS: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "s": set,
    "f": frozenset,
    "r": lambda items: range(*items),
    "sl": lambda items: slice(*items),
    "q": collections.deque,
    "I": _lazily,
    "dk": lambda items: dict.fromkeys(items).keys(),
    "dv": lambda items: dict(enumerate(items)).values(),
    "di": lambda pairs: dict(pairs).items(),
}
