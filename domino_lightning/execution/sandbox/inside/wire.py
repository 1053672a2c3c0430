"""Plain data between processes that do not trust each other: JSON trees, never pickle or marshal.

A tree is None, a boolean, an integer, a float, a string, a list, or an object with one key that tags what
JSON lacks: `{"t": [...]}` is a tuple, `{"d": [[key, value], ...]}` a dict, and so on. Whoever encodes is not
trusted: what arrives is checked again, and only ever becomes values of built-in and standard library types.
Instances of subclasses are sent as the value of their plain base, so no method of theirs travels.
"""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

MAX_DEPTH = 100
MAX_NODES = 4_000_000
MANY = 100  # items of an iterator that are asked for at a time
_SMALL = 10**18
_FLAT = {type(None), bool, int, float, str}

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_EMPTY: tuple[Any, ...] = (
    iter([]), iter(()), iter({}), iter(set()), iter(""), iter(b""), iter(range(0)), reversed([]), map(str, []),
    filter(None, []), zip(), enumerate([]), (each for each in ""), iter({}.items()), iter({}.values()),
)  # fmt: skip
_ITERATORS = frozenset(map(type, _EMPTY))
_VIEWS = {type({}.keys()): "dk", type({}.values()): "dv", type({}.items()): "di"}
_TEXTUAL: dict[type, tuple[str, Callable[[Any], str], Callable[[str], object]]] = {
    Decimal: ("Decimal", str, Decimal),
    Fraction: ("Fraction", str, Fraction),
    datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.datetime: ("datetime", datetime.datetime.isoformat, datetime.datetime.fromisoformat),
}
_PARSERS = {name: parse for name, _, parse in _TEXTUAL.values()}


class NotPlain(Exception):
    """A value that has no tree; the message says why."""


class TooLarge(NotPlain):
    """A value with more nodes, or deeper, than the limits."""


def dumps(tree: object, dump: Callable[[Any], str] = _ENCODER.encode) -> bytes:
    """The bytes of a tree; `json` escapes every character outside ASCII, lone surrogates included."""
    return dump(tree).encode("ascii")


def loads(data: bytes, load: Callable[..., Any] = json.loads) -> Any:
    """The tree in bytes from another process.

    Raises:
        NotPlain: they are not JSON.
    """
    try:
        return load(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPlain(f"not readable ({type(error).__name__})") from None


def encode(value: object, handle: Callable[[object], object] | None = None, lazily: bool = False) -> object:
    """The tree of a value.

    Args:
        value: what to send. Iterators are used up and sent as what they gave.
        handle: gives the tree of an object that is no data; without it such an object is an error.
        lazily: of an iterator send the first items and a handle of the rest; it may have no end.

    Raises:
        NotPlain: the value, or something in it, is no data.
        TooLarge: nested deeper than `MAX_DEPTH`, or more than `MAX_NODES` nodes.
    """
    return _encode(value, 0, [MAX_NODES], handle, lazily)


def _encode(
    value: Any, depth: int, left: list[int], handle: Callable[[object], object] | None, lazily: bool = False
) -> object:
    left[0] -= 1
    if left[0] < 0:
        raise TooLarge(f"more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        raise TooLarge(f"nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is str:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}

    def items(values: Any) -> list[object]:
        return [_encode(item, depth + 1, left, handle, lazily) for item in values]

    def pairs(mapping: Any) -> list[object]:
        return [items(pair) for pair in dict.items(mapping)]

    if kind is list:
        return _flat(value, left) or items(value)
    if kind is tuple:
        return {"t": _flat(value, left) or items(value)}
    if kind is dict:
        return {"d": pairs(value)}
    if kind is set:
        return {"s": items(value)}
    if kind is frozenset:
        return {"f": items(value)}
    if kind is bytes:
        return {"b": value.decode("latin-1")}
    if kind is bytearray:
        return {"ba": value.decode("latin-1")}
    if kind is complex:
        return {"c": [value.real, value.imag]}
    if kind is range:
        return {"r": items((value.start, value.stop, value.step))}
    if kind is collections.Counter:
        return {"dc": pairs(value)}
    if kind is collections.OrderedDict:
        return {"do": pairs(value)}
    if kind is collections.defaultdict:
        return {"dd": pairs(value)}
    if kind is collections.deque:
        return {"q": items(value)}
    if kind in _VIEWS:
        return {_VIEWS[kind]: items(value)}
    if kind in _ITERATORS or kind.__module__ == "itertools":
        if handle is None or not lazily:
            return {"I": items(value)}
        first = [*islice(value, MANY)]
        return {"I": items(first)} if len(first) < MANY else {"L": [items(first), handle(value)]}
    if kind in _TEXTUAL:
        name, text_of, _ = _TEXTUAL[kind]
        return {"x": [name, text_of(value)]}
    if kind.__module__ == "numpy" and callable(getattr(value, "item", None)) and not getattr(value, "ndim", 1):
        return _encode(value.item(), depth + 1, left, handle)
    return _encode_instance(value, items, pairs, handle)


def _flat(values: Any, left: list[int]) -> list[object] | None:
    """A sequence of scalars as it is, which spares large results a call for each item."""
    kinds = set(map(type, values))
    if not kinds or not kinds <= _FLAT:
        return None
    if int in kinds:
        numbers = values if kinds == {int} else [item for item in values if type(item) is int]
        if not -_SMALL < min(numbers) <= max(numbers) < _SMALL:
            return None
    left[0] -= len(values)
    if left[0] < 0:
        raise TooLarge(f"more than {MAX_NODES} values")
    return list(values)


def _encode_instance(
    value: Any,
    items: Callable[[Any], list[object]],
    pairs: Callable[[Any], list[object]],
    handle: Callable[[object], object] | None,
) -> object:
    """An instance of some class: the plain value of its built-in base, or a handle to it."""
    if isinstance(value, int):
        return items([int.__add__(value, 0)])[0]
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple):
        return {"t": items(tuple.__iter__(value))}
    if handle is not None:
        return handle(value)
    if isinstance(value, list):
        return items(list.__iter__(value))
    if isinstance(value, dict):
        return {"d": pairs(value)}
    raise NotPlain(f"a {type(value).__name__}, not a plain value")


def decode(tree: object, handle: Callable[[object], object] | None = None) -> Any:
    """The value of a tree from another process.

    Args:
        tree: what `loads` gave.
        handle: makes the stand-in of an object that stayed in the other process.

    Raises:
        NotPlain: it is no tree that `encode` makes.
    """
    try:
        return _decode(tree, 0, handle)
    except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
        raise NotPlain(f"no plain value ({type(error).__name__}: {error})") from None


def _decode(tree: Any, depth: int, handle: Callable[[object], object] | None) -> Any:
    if depth > MAX_DEPTH:
        raise TooLarge(f"nested more than {MAX_DEPTH} deep")
    kind = type(tree)
    if kind is list:
        if set(map(type, tree)) <= _FLAT:
            return list(tree)
        return [_decode(item, depth + 1, handle) for item in tree]
    if kind is not dict:
        return tree
    ((tag, content),) = tree.items()

    def items() -> Iterator[Any]:
        return (_decode(item, depth + 1, handle) for item in content)

    def mapping() -> Iterator[tuple[Any, Any]]:
        return ((_decode(k, depth + 1, handle), _decode(v, depth + 1, handle)) for k, v in content)

    if tag == "h" and handle is not None:
        return handle(content)
    if tag == "x":
        return _PARSERS[content[0]](content[1])
    if tag == "L" and handle is not None:
        return _lazily([_decode(item, depth + 1, handle) for item in content[0]], handle(content[1]["h"]))
    build: dict[str, Callable[[], Any]] = {
        "i": lambda: int(content, 16),
        "t": lambda: tuple(items()),
        "d": lambda: dict(mapping()),
        "s": lambda: set(items()),
        "f": lambda: frozenset(items()),
        "b": lambda: content.encode("latin-1"),
        "ba": lambda: bytearray(content.encode("latin-1")),
        "c": lambda: complex(float(content[0]), float(content[1])),
        "r": lambda: range(*items()),
        "dc": lambda: collections.Counter(dict(mapping())),
        "do": lambda: collections.OrderedDict(mapping()),
        "dd": lambda: collections.defaultdict(None, mapping()),
        "q": lambda: collections.deque(items()),
        "I": lambda: _lazily(list(items())),
        "dk": lambda: dict.fromkeys(items()).keys(),
        "dv": lambda: dict(enumerate(items())).values(),
        "di": lambda: dict(items()).items(),
    }
    return build[tag]()


def _lazily(first: list[Any], rest: Any = None) -> Iterator[Any]:
    """The first items of an iterator, then those that its stand-in fetches."""
    yield from first
    while rest is not None and type(found := rest._more()) is list:
        yield from found
        if len(found) < MANY:
            return


def builtin_error(error: BaseException) -> list[str]:
    """An exception as the name of its nearest built-in class, and its message."""
    for base in type(error).__mro__:
        if base.__module__ == "builtins" and type(base) is type:
            return [base.__name__, message_of(error)]
    return ["Exception", message_of(error)]


def message_of(value: object, text_of: Callable[[Any], str] = str, limit: int = 500) -> str:
    """The text of an object, whatever its own methods do."""
    try:
        text = str.__str__(text_of(value))
    except BaseException as error:
        return f"<{type(error).__name__} while it was printed>"
    return text if len(text) <= limit else text[:limit] + "..."
