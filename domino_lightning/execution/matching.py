"""Whether a program's output or result is the expected one; compared here, as text or plain data, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

LCB = "lcb"  # the lenient rules of LiveCodeBench's own checker
_DICTS = ("d", "dc", "do", "dd")


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


def same_value(tree: Any, wanted: Any, compat: str = "") -> bool:
    """A result, as the tree that `wire.py` describes, against an expected JSON value.

    Tuples count as lists, at any depth, and standard library dicts as dicts. Booleans are no numbers, a float is
    no integer, an integer may stand where a float is expected, and NaN is NaN. Under `compat="lcb"` numbers and
    booleans are compared by Python's `==`, and only the outermost tuple counts as a list.

    Args:
        tree: not trusted; it was made in the program's process.
        wanted: parsed JSON.
        compat: "" or "lcb".
    """
    if compat == LCB and isinstance(tree, dict) and set(tree) == {"t"}:
        tree = tree["t"]
    return _same(tree, wanted, compat)


def _same(tree: Any, wanted: Any, compat: str) -> bool:
    if isinstance(tree, dict):
        return _same_tagged(tree, wanted, compat)
    if isinstance(wanted, bool) or isinstance(tree, bool):
        return bool(tree == wanted) if compat == LCB else tree is wanted
    if isinstance(wanted, int | float):
        if wanted != wanted and compat != LCB:  # a program that should give NaN cannot do better than that
            return type(tree) is float and tree != tree
        exact = isinstance(wanted, int) and compat != LCB
        return type(tree) in ((int,) if exact else (int, float)) and bool(tree == wanted)
    if isinstance(wanted, list):
        return isinstance(tree, list) and _same_items(tree, wanted, compat)
    return type(tree) is type(wanted) and bool(tree == wanted)


def _same_items(trees: Any, wanted: Sequence[Any], compat: str) -> bool:
    return (
        isinstance(trees, list)
        and len(trees) == len(wanted)
        and all(_same(tree, item, compat) for tree, item in zip(trees, wanted, strict=True))
    )


def _same_tagged(tree: dict[str, Any], wanted: Any, compat: str) -> bool:
    if len(tree) != 1:
        return False
    ((tag, content),) = tree.items()
    if tag == "t":
        return compat != LCB and isinstance(wanted, list) and _same_items(content, wanted, compat)
    if tag == "i" and isinstance(content, str):
        try:
            return type(wanted) in (int, float) and int(content, 16) == wanted
        except (ValueError, OverflowError):
            return False
    if tag in _DICTS and isinstance(wanted, dict):
        return _same_pairs(content, wanted, compat)
    return False


def _same_pairs(pairs: Any, wanted: dict[str, Any], compat: str) -> bool:
    if not isinstance(pairs, list) or len(pairs) != len(wanted):
        return False
    seen = set()
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            return False
        if pair[0] in seen or pair[0] not in wanted or not _same(pair[1], wanted[pair[0]], compat):
            return False
        seen.add(pair[0])
    return True
