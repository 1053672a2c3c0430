"""Plain data between processes that do not trust each other: JSON trees, never pickle or marshal.

A tree is None, a boolean, an integer, a float, a string, a list, or an object with one key that tags what
JSON lacks: `{"t": [...]}` is a tuple, `{"d": [[key, value], ...]}` a dict, and so on. Whoever encodes is not
trusted: what arrives is checked again, and only ever becomes values of built-in and standard library types, and
NumPy's. Instances of subclasses are sent as the value of their plain base, so no method of theirs travels.
"""

from __future__ import annotations

import array
import collections
import contextlib
import gc
import json
import sys
import types
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from domino_lightning.execution.sandbox.inside.arrays import (
    decode_array,
    decode_matrix,
    decode_scalar,
    encode_array,
)
from domino_lightning.execution.sandbox.inside.values import (
    PARSERS,
    TEXTUAL,
    fields_of,
    known_name,
    make_error,
    named,
    set_fields,
)

MAX_DEPTH = 1000  # as deep as Python itself compares lists
MAX_NODES = 4_000_000
MAX_CONTAINERS = 2_000_000  # of JSON: an empty one takes more room than any number
MAX_BYTES = 128 << 20
_NODE_BYTES = MAX_BYTES // MAX_NODES  # what a number with its comma takes at most; longer texts count for several
MANY = 100  # items of an iterator that are asked for at a time
_DEEP = 20_000  # frames, for `MAX_DEPTH` levels
_SMALL = 10**18
_FLAT = {type(None), bool, int, float, str}

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_EMPTY: tuple[Any, ...] = (
    iter([]), iter(()), iter({}), iter(set()), iter(""), iter(b""), iter(range(0)), reversed([]), map(str, []),
    filter(None, []), zip(), enumerate([]), (each for each in ""), iter({}.items()), iter({}.values()),
)  # fmt: skip
_ITERATORS = frozenset(map(type, _EMPTY))
_SEQUENCES: dict[type, str] = {
    tuple: "t", set: "s", frozenset: "f", collections.deque: "q",
    type({}.keys()): "dk", type({}.values()): "dv", type({}.items()): "di",
}  # fmt: skip
_MAPPINGS = {dict: "d", collections.Counter: "dc", collections.OrderedDict: "do", collections.defaultdict: "dd"}
STAYING = (types.SimpleNamespace, array.array)  # objects, since they change, that equal what they hold
_BASES: tuple[Any, ...] = (tuple, list, set, frozenset)

Handle = Callable[[Any], object]


class NotPlain(Exception):
    """A value that has no tree; the message says why."""


class TooLarge(NotPlain):
    """A value with more nodes, or deeper, than the limits."""


@contextlib.contextmanager
def deeply() -> Iterator[None]:
    """Room for trees that nest, and no search for garbage among many new objects, which doubles the time.

    For the processes of the sandbox alone: both are the whole interpreter's.
    """
    before, collects = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(max(before, _DEEP))
    gc.disable()
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
        if collects:
            gc.enable()


def dumps(tree: object, dump: Callable[[Any], str] = _ENCODER.encode) -> bytes:
    """The bytes of a tree; `json` escapes every character outside ASCII, lone surrogates included."""
    return dump(tree).encode("ascii")


def count_marks(data: bytes) -> tuple[int, int]:
    """Commas and opening brackets in a JSON text, those in strings among them: what bounds its nodes, unread."""
    return data.count(b","), data.count(b"[") + data.count(b"{")


def loads(data: bytes, load: Callable[..., Any] = json.loads) -> Any:
    """The tree in bytes from another process.

    Raises:
        NotPlain: they are not JSON.
        TooLarge: more than `MAX_NODES` nodes, or `MAX_CONTAINERS` of them that hold others; it was not read then.
    """
    commas, containers = count_marks(data)
    if commas > MAX_NODES or containers > MAX_CONTAINERS:
        plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # every quote left begins or ends a string
        strings = plain.count(b'"') // 2
        commas, containers = count_marks(b"".join(plain.split(b'"')[::2])) if strings < MAX_CONTAINERS else (0, strings)
        if commas > MAX_NODES or containers >= MAX_CONTAINERS:
            raise TooLarge("more values than can be read")
    try:
        return load(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPlain(f"not readable ({type(error).__name__})") from None


def encode(
    value: object,
    handle: Handle | None = None,
    lazily: bool = False,
    keeps: Callable[[Any], bool] | None = None,
    asked: frozenset[str] = frozenset(),
) -> object:
    """The tree of a value.

    Args:
        value: what to send. Iterators are used up and sent as what they gave.
        handle: gives the tree of an object that is no data; without it such an object is an error.
        lazily: of an iterator send the first items and a handle of the rest; it may have no end.
        keeps: whether an iterator, or an instance of a subclass of plain data, is no data either.
        asked: attributes of exceptions that are sent along.

    Raises:
        NotPlain: the value, or something in it, is no data.
        TooLarge: nested deeper than `MAX_DEPTH`, or more than `MAX_NODES` nodes.
    """
    with deeply():
        return _Encoder(handle, lazily, keeps, asked).tree(value, 0)


class _Encoder:
    """One call of `encode`."""

    def __init__(
        self, handle: Handle | None, lazily: bool, keeps: Callable[[Any], bool] | None, asked: frozenset[str]
    ) -> None:
        self.handle, self.lazily, self.keeps, self.asked = handle, lazily, keeps, asked
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
            self._spend(value.bit_length() // (4 * _NODE_BYTES))
            return value if -_SMALL < value < _SMALL else {"i": hex(value)}
        if depth >= MAX_DEPTH:
            raise TooLarge(f"nested more than {MAX_DEPTH} deep")
        depth += 1
        self._spend(0, 1 if kind is list else 2)
        if kind is list:
            return self._flat(value) or self._items(value, depth)
        if kind in _SEQUENCES:
            return {_SEQUENCES[kind]: kind is tuple and self._flat(value) or self._items(value, depth)}
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
        if not kinds or not kinds <= _FLAT:
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
        return None if self.handle is None else lambda size: self._spend(size // _NODE_BYTES)

    def _other(self, value: Any, kind: type, depth: int) -> object:
        """An iterator, something of NumPy's, or an instance of some class."""
        kept = self.handle is not None and self.keeps is not None and self.keeps(value)
        if self.handle is not None and kept:
            return self.handle(value)
        if kind in _ITERATORS or kind.__module__ == "itertools":
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
            fields = fields_of(value, kind, self.asked).items()
            more = {name: self.tree(each, depth) for name, each in fields}
            return {"E": [kind.__name__, message_of(value), self._items(value.args, depth), more]}
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


def _text_nodes(text: str | bytes | bytearray) -> int:
    """For how many more nodes a text counts; outside ASCII a character takes six bytes."""
    return len(text) * (1 if text.isascii() else 6) // _NODE_BYTES


def is_plain_error(value: object) -> bool:
    """Whether it is an exception of exactly a built-in class."""
    return isinstance(value, BaseException) and known_name(type(value)) is not None


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


def decode(tree: object, handle: Handle | None = None, note: Callable[[Any], object] = lambda error: None) -> Any:
    """The value of a tree from another process.

    Args:
        tree: what `loads` gave.
        handle: makes the stand-in of an object that stayed in the other process.
        note: is told of every exception in it.

    Raises:
        NotPlain: it is no tree that `encode` makes.
    """
    try:
        with deeply():
            return _Decoder(handle, note).value(tree, 0)
    except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, ImportError) as error:
        raise NotPlain(f"no plain value ({type(error).__name__}: {error})") from None


class _Decoder:
    """One call of `decode`."""

    def __init__(self, handle: Handle | None, note: Callable[[Any], object]) -> None:
        self.handle, self.note = handle, note

    def value(self, tree: Any, depth: int) -> Any:
        kind = type(tree)
        if kind is not list and kind is not dict:
            return tree
        if depth > 2 * MAX_DEPTH:  # the pairs of a dict are lists in its tree
            raise TooLarge(f"nested more than {MAX_DEPTH} deep")
        if kind is list:
            return list(tree) if set(map(type, tree)) <= _FLAT else self._items(tree, depth + 1)
        ((tag, content),) = tree.items()
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


def _lazily(first: list[Any], rest: Any = None) -> Iterator[Any]:
    """The first items of an iterator, then those that its stand-in fetches."""
    yield from first
    while rest is not None and type(found := rest._remote_more()) is list:
        yield from found
        if len(found) < MANY:
            return


_BUILDERS: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "d": dict,
    "s": set,
    "f": frozenset,
    "r": lambda items: range(*items),
    "ns": lambda pairs: types.SimpleNamespace(**dict(pairs)),
    "sl": lambda items: slice(*items),
    "dm": lambda pairs: types.MappingProxyType(dict(pairs)),
    "dc": lambda pairs: collections.Counter(dict(pairs)),
    "do": collections.OrderedDict,
    "dd": lambda pairs: collections.defaultdict(None, pairs),
    "q": collections.deque,
    "I": _lazily,
    "dk": lambda items: dict.fromkeys(items).keys(),
    "dv": lambda items: dict(enumerate(items)).values(),
    "di": lambda pairs: dict(pairs).items(),
}


def builtin_base(error: BaseException) -> type[BaseException]:
    """The nearest built-in class of an exception."""
    bases = (base for base in type(error).__mro__ if known_name(base) and issubclass(base, BaseException))
    return next(bases, Exception)


def message_of(value: object, text_of: Callable[[Any], str] = str, limit: int = 500) -> str:
    """The text of an object, whatever its own methods do."""
    try:
        text = str.__str__(text_of(value))
    except BaseException as error:
        return f"<{type(error).__name__} while it was printed>"
    return text if len(text) <= limit else text[:limit] + "..."
