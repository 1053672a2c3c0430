"""Values as trees, see `wire.py`."""

from __future__ import annotations

import array
import collections
import gc
import types
from collections.abc import Callable
from itertools import islice
from typing import Any

from domino_lightning.execution.sandbox.inside.arrays import encode_array
from domino_lightning.execution.sandbox.inside.exceptions import fields_of, is_plain_error
from domino_lightning.execution.sandbox.inside.values import TEXTUAL, known_name
from domino_lightning.execution.sandbox.inside.wire import (
    FLAT,
    MANY,
    MAX_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_NODES,
    NODE_BYTES,
    Handle,
    NotPlain,
    TooLarge,
    changes,
    deeply,
    message_of,
)

_SMALL = 10**18

_EMPTY: tuple[Any, ...] = (
    iter([]), iter(()), iter({}), iter(set()), iter(""), iter(b""), iter(range(0)), reversed([]), map(str, []),
    filter(None, []), zip(), enumerate([]), (each for each in ""), iter({}.items()), iter({}.values()),
)  # fmt: skip
_ITERATORS = frozenset(map(type, _EMPTY))
_VIEWS: dict[type, str] = {type({}.keys()): "dk", type({}.values()): "dv", type({}.items()): "di"}
_SEQUENCES: dict[type, str] = {tuple: "t", set: "s", frozenset: "f", collections.deque: "q", **_VIEWS}
_MAPPINGS = {dict: "d", collections.Counter: "dc", collections.OrderedDict: "do", collections.defaultdict: "dd"}
MUTABLE = (*_MAPPINGS, list, set, bytearray, collections.deque)  # arguments that a call may change
STAYING = (types.SimpleNamespace, array.array)  # objects, since they change, that equal what they hold
_BASES: tuple[Any, ...] = (tuple, list, set, frozenset)


def encode(
    value: object,
    handle: Handle | None = None,
    lazily: bool = False,
    keeps: Callable[[Any], bool] | None = None,
    asked: frozenset[str] = frozenset(),
    known: list[Any] | None = None,
) -> object:
    """The tree of a value.

    Args:
        value: what to send. Iterators are used up and sent as what they gave.
        handle: gives the tree of an object that is no data; without it such an object is an error.
        lazily: of an iterator send the first items and a handle of the rest; it may have no end.
        keeps: whether an iterator, or an instance of a subclass of plain data, is no data either.
        asked: attributes of exceptions that are sent along.
        known: what can change and was sent before, in order; what is sent now is put behind it.

    Raises:
        NotPlain: the value, or something in it, is no data.
        TooLarge: nested deeper than `MAX_DEPTH`, or more than `MAX_NODES` nodes.
    """
    with deeply():
        return _Encoder(handle, lazily, keeps, asked, [] if known is None else known).tree(value, 0)


class _Encoder:
    """One call of `encode`."""

    def __init__(
        self,
        handle: Handle | None,
        lazily: bool,
        keeps: Callable[[Any], bool] | None,
        asked: frozenset[str],
        known: list[Any],
    ) -> None:
        self.handle, self.lazily, self.keeps, self.asked, self.known = handle, lazily, keeps, asked, known
        self.places = {id(each): place for place, each in enumerate(known)}
        self.left, self.containers = MAX_NODES, MAX_CONTAINERS

    def tree(self, value: Any, depth: int) -> object:
        self._spend(1)
        kind: Any = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is str:
            self._spend(_text_nodes(value))
            return value
        if kind is int:
            self._spend(value.bit_length() // (4 * NODE_BYTES))
            return value if -_SMALL < value < _SMALL else {"i": hex(value)}
        if (place := self.places.get(id(value))) is not None:
            return {"=": place}
        if depth >= MAX_DEPTH:
            raise TooLarge(f"nested more than {MAX_DEPTH} deep")
        found = self._data(value, kind, depth + 1)
        if self.handle is not None and changes(found):
            self.places[id(value)] = len(self.known)
            self.known.append(value)
        return found

    def _data(self, value: Any, kind: Any, depth: int) -> object:
        """Something that is no scalar."""
        self._spend(0, 1 if kind is list else 2)
        if kind is list:
            return self._flat(value) or self._items(value, depth)
        if kind in _VIEWS and self.handle is not None:
            (seen,) = gc.get_referents(value)
            if (place := self.places.get(id(seen))) is not None:  # it goes on showing what the other side has too
                return {"v=": [_VIEWS[kind], place]}
        if kind in _SEQUENCES:
            return {_SEQUENCES[kind]: kind is tuple and self._flat(value) or self._items(value, depth)}
        if kind is collections.defaultdict and self.handle is not None:
            return {"df": [self.tree(value.default_factory, depth), self._pairs(value, depth)]}
        if kind in _MAPPINGS:
            return {_MAPPINGS[kind]: self._pairs(value, depth)}
        if kind is bytes or kind is bytearray:
            self._spend(_text_nodes(value))
            return {"b" if kind is bytes else "ba": value.decode("latin-1")}
        if kind is complex:
            return {"c": [value.real, value.imag]}
        if kind is slice:
            return {"sl": self._items((value.start, value.stop, value.step), depth)}
        if kind is types.MappingProxyType:
            return {"dm": [self._items(pair, depth) for pair in dict(value).items()]}
        if kind is range:
            return {"r": self._items((value.start, value.stop, value.step), depth)}
        if kind in TEXTUAL:
            name, text_of, _ = TEXTUAL[kind]
            return {"x": [name, text_of(value)]}
        return self._other(value, kind, depth)

    def _spend(self, nodes: int, containers: int = 0) -> None:
        self.left -= nodes
        self.containers -= containers
        if self.left < 0 or self.containers < 0:
            raise TooLarge(f"more than {MAX_NODES} values, {MAX_CONTAINERS} that hold others, or {MAX_BYTES} bytes")

    def _items(self, values: Any, depth: int) -> list[object]:
        return [self.tree(item, depth) for item in values]

    def _pairs(self, mapping: Any, depth: int) -> list[object]:
        self._spend(0, dict.__len__(mapping))
        return [self._items(pair, depth) for pair in dict.items(mapping)]

    def _flat(self, values: Any) -> list[object] | None:
        """A sequence of scalars as it is, which spares large results a call for each item."""
        kinds = set(map(type, values))
        if not kinds or not kinds <= FLAT:
            return None
        if int in kinds:
            numbers = values if kinds == {int} else [item for item in values if type(item) is int]
            if not -_SMALL < min(numbers) <= max(numbers) < _SMALL:
                return None
        if str in kinds:
            self._spend(sum(_text_nodes(item) for item in values if type(item) is str))
        self._spend(len(values))
        return list(values)

    @property
    def _packed(self) -> Callable[[int], None] | None:
        """For arrays between two processes that both have NumPy, room for so many bytes."""
        return None if self.handle is None else lambda size: self._spend(size // NODE_BYTES)

    def _other(self, value: Any, kind: type, depth: int) -> object:
        """An iterator, something of NumPy's, or an instance of some class."""
        kept = self.handle is not None and self.keeps is not None and self.keeps(value)
        if self.handle is not None and kept:
            return self.handle(value)
        if is_iterator(value):
            if self.handle is None or not self.lazily:
                return {"I": self._items(value, depth)}
            first = [*islice(value, MANY)]
            trees = self._items(first, depth)
            return {"I": trees} if len(first) < MANY else {"L": [trees, self.handle(value)]}
        if kind.__module__ == "numpy":
            found = encode_array(value, lambda flat: self._flat(flat) or self._items(flat, depth), self._packed)
            if found is not None:
                return found
        if kind is types.SimpleNamespace:
            return {"ns": self._pairs(vars(value), depth)}
        if kind is array.array:
            return {"A": [value.typecode, self._items(value.tolist(), depth)]}
        if (name := known_name(value)) is not None:
            return {"o": name}
        if is_plain_error(value):
            arguments, fields = self._items(value.args, depth), fields_of(value, kind, self.asked)
            more = {name: self.tree(each, depth) for name, each in fields.items()}
            return {"E": [kind.__name__, message_of(value), arguments, more]}
        if isinstance(value, tuple):
            return {"t": self._items(tuple.__iter__(value), depth)}
        if isinstance(value, int | float | str):
            return self.tree(base_value(value), depth)
        if self.handle is not None:
            return self.handle(value)
        if isinstance(value, list):
            return self._items(list.__iter__(value), depth)
        if isinstance(value, dict):
            return {"d": self._pairs(value, depth)}
        raise NotPlain(f"a {kind.__name__}, not a plain value")


def is_iterator(value: object) -> bool:
    """Whether it is used up by reading it, and sent as what it gave."""
    return type(value) in _ITERATORS or type(value).__module__ == "itertools"


def _text_nodes(text: str | bytes | bytearray) -> int:
    """For how many more nodes a text counts; outside ASCII a character takes six bytes."""
    return len(text) * (1 if text.isascii() else 6) // NODE_BYTES


def base_value(value: Any) -> Any:
    """What an instance of a subclass of plain data holds, as that data; None of anything else.

    Of `STAYING` it is the value itself.
    """
    if type(value) in STAYING:
        return value
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, str):
        return str.__str__(value)
    for base in _BASES:
        if isinstance(value, base):
            return base(base.__iter__(value))
    return dict(dict.items(value)) if isinstance(value, dict) else None
