"""Plain data between processes that do not trust each other: JSON trees, never pickle or marshal.

A tree is None, a boolean, an integer, a float, a string, a list, or an object with one key that tags what
JSON lacks: `{"t": [...]}` is a tuple, `{"d": [[key, value], ...]}` a dict, and so on. Whoever encodes is not
trusted: what arrives is checked again, and only ever becomes values of built-in and standard library types, and
NumPy's. Instances of subclasses are sent as the value of their plain base, so no method of theirs travels.
`encoding.py` makes trees, `decoding.py` takes them apart; here is what both and the bytes between them have in common.

Something that can change and that a value holds in two places is one thing after all: `{"=": 3}` is what the fourth of
the trees that `changes` says yes to stands for, counted where they end.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

MAX_DEPTH = 1000  # as deep as Python itself compares lists
MAX_NODES = 4_000_000
MAX_CONTAINERS = 2_000_000  # of JSON: an empty one takes more room than any number
MAX_BYTES = 128 << 20
NODE_BYTES = MAX_BYTES // MAX_NODES  # what a number with its comma takes at most; longer texts count for several
MANY = 100  # items of an iterator that are asked for at a time
_DEEP = 20_000  # frames, for `MAX_DEPTH` levels
_CHANGING = frozenset(("d", "dc", "do", "dd", "df", "s", "ba", "q", "a", "am", "ns", "A", "E", "I", "L"))
FLAT = {type(None), bool, int, float, str}

_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)

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


def changes(tree: Any) -> bool:
    """Whether a tree stands for something that can change, or is used up, so that it matters if it is the same."""
    return type(tree) is list or (type(tree) is dict and next(iter(tree), "") in _CHANGING)


def message_of(value: object, text_of: Callable[[Any], str] = str, limit: int = 500) -> str:
    """The text of an object, whatever its own methods do."""
    try:
        text = str.__str__(text_of(value))
    except BaseException as error:
        return f"<{type(error).__name__} while it was printed>"
    return text if len(text) <= limit else text[:limit] + "..."
