"""Whether a program's output or result is the expected one; compared here, as text or plain data, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from domino_lightning.execution.sandbox.inside.wire import NotPlain, count_marks, loads

LCB = "lcb"  # the lenient rules of LiveCodeBench's own checker
_DICTS = ("d", "dc", "do", "dd")
_TAGS, _SLACK = 4, 64  # commas and brackets of a tree: at most that many times those of the same JSON, and so many more


def same_output(got: str, wanted: str) -> bool:
    """Standard output against the expected text, as LiveCodeBench states it.

    Space around the text and around each line does not count; the number of lines does. Two lines are the
    same if their texts are, or if both are numbers between spaces and the numbers are equal as decimals:
    `1.0` is `1`, and 50000000000000000 is not 50000000000000001.
    """
    left, right = got.strip(), wanted.strip()
    if left.count("\n") != right.count("\n"):  # before it is split: what was printed may be large
        return False
    return all(map(_same_line, left.split("\n"), right.split("\n")))


def _same_line(got: str, wanted: str) -> bool:
    left, right = got.strip(), wanted.strip()
    if left == right:
        return True
    expected = _decimals(right.split())
    if expected is None:
        return False
    words = left.split(maxsplit=len(expected))  # one more than expected says enough
    try:
        return len(words) == len(expected) and _decimals(words) == expected
    except InvalidOperation:  # a signalling NaN
        return False


def _decimals(words: Sequence[str]) -> list[Decimal] | None:
    try:
        return [Decimal(word) for word in words]
    except InvalidOperation:
        return None


def same_json(value: bytes, wanted: str, compat: str = "") -> bool:
    """`same_value` of a result in JSON and an expected one.

    A result of many more commas and brackets than the same value has is not read at all, so that it takes neither
    time nor memory of this process.

    Args:
        value: not trusted; the tree that `wire.py` describes.
        wanted: JSON.
        compat: "" or "lcb".
    """
    most = _TAGS * sum(count_marks(wanted.encode("utf-8", "surrogatepass"))) + _SLACK
    if sum(count_marks(value)) > most:
        return False
    try:
        return same_value(loads(value), json.loads(wanted), compat)
    except (NotPlain, RecursionError):
        return False


def same_value(tree: Any, wanted: Any, compat: str = "") -> bool:
    """A result, as the tree that `wire.py` describes, against an expected JSON value.

    Tuples and NumPy's arrays count as lists, at any depth, and standard library dicts as dicts. Booleans are no
    numbers, a float is no integer, an integer may stand where a float is expected, and NaN is NaN. Under
    `compat="lcb"` numbers and booleans are compared by Python's `==`, only the outermost tuple counts as a list, and
    no array does.

    Args:
        tree: not trusted; it was made in the program's process. It is never decoded here: keys made to collide would
            keep this process busy for hours.
        wanted: parsed JSON.
        compat: "" or "lcb".
    """
    if compat == LCB and isinstance(tree, dict) and set(tree) == {"t"}:
        tree = tree["t"]
    pending = [(tree, wanted)]
    while pending:
        pairs = _parts(*pending.pop(), compat)
        if pairs is None:
            return False
        pending += pairs
    return True


Pairs = list[tuple[Any, Any]]


def _parts(tree: Any, wanted: Any, compat: str) -> Pairs | None:
    """Parts that must be the same for a tree to be; None if it is not in any case."""
    if isinstance(tree, dict):
        return _tagged(tree, wanted, compat)
    if isinstance(wanted, list):
        return _items(tree, wanted)
    return [] if _same_scalar(tree, wanted, compat) else None


def _same_scalar(tree: Any, wanted: Any, compat: str) -> bool:
    if isinstance(wanted, bool) or isinstance(tree, bool):
        return bool(tree == wanted) if compat == LCB else tree is wanted
    if isinstance(wanted, int | float):
        if wanted != wanted and compat != LCB:  # a program that should give NaN cannot do better than that
            return type(tree) is float and tree != tree
        exact = isinstance(wanted, int) and compat != LCB
        return type(tree) in ((int,) if exact else (int, float)) and bool(tree == wanted)
    return type(tree) is type(wanted) and bool(tree == wanted)


def _items(trees: Any, wanted: Any) -> Pairs | None:
    same = isinstance(trees, list) and isinstance(wanted, list) and len(trees) == len(wanted)
    return list(zip(trees, wanted, strict=True)) if same else None


def _tagged(tree: dict[str, Any], wanted: Any, compat: str) -> Pairs | None:
    if len(tree) != 1:
        return None
    ((tag, content),) = tree.items()
    if tag == "t":
        return _items(content, wanted) if compat != LCB else None
    if tag == "i" and isinstance(content, str):
        try:
            return [] if type(wanted) in (int, float) and int(content, 16) == wanted else None
        except (ValueError, OverflowError):
            return None
    if tag == "n" and isinstance(content, list) and len(content) == 2:
        return [(content[1], wanted)]
    if tag in ("a", "am") and compat != LCB and isinstance(content, list) and len(content) == 3:
        return _array(content[1], content[2], wanted)
    if tag in _DICTS and isinstance(wanted, dict):
        return _members(content, wanted)
    return None


def _array(shape: Any, flat: Any, wanted: Any) -> Pairs | None:
    """The items of an array, which are sent in one list, against lists of its shape."""
    expected = [wanted]
    for size in shape if isinstance(shape, list) else ():
        if not all(isinstance(each, list) and len(each) == size for each in expected):
            return None
        expected = [item for each in expected for item in each]
    return _items(flat, expected)


def _members(pairs: Any, wanted: dict[str, Any]) -> Pairs | None:
    if not isinstance(pairs, list) or len(pairs) != len(wanted):
        return None
    found: dict[str, Any] = {}
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            return None
        if pair[0] in found or pair[0] not in wanted:
            return None
        found[pair[0]] = pair[1]
    return [(value, wanted[key]) for key, value in found.items()]
