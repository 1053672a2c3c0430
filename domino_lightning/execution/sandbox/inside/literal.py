"""The repr of a returned value, if it is an exact plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
_SCALARS = (type(None), bool, int, float)
_TEXTS = (str, bytes)
_CONTAINERS = (list, tuple, set, frozenset, dict)


class NotLiteral(Exception):
    """A returned value has no literal; the message says why."""


class TooLong(Exception):
    """A returned value's repr is longer than the limit."""


def _maker() -> Callable[[Any, int], str]:
    """`literal`, bound to today's builtins: the program may replace `repr` and `type`."""
    scalars, texts, containers = frozenset(_SCALARS), frozenset(_TEXTS), frozenset(_CONTAINERS)
    type_of, text_of, size_of, real, mapping, inf = type, repr, len, float, dict, float("inf")
    message = "its repr is longer than the limit"

    def measure(value: Any, depth: int, budget: int) -> int:
        kind = type_of(value)
        if kind in scalars:
            if kind is real and not -inf < value < inf:
                raise NotLiteral(f"a float without a literal ({text_of(value)})")
            return budget - 1
        if kind in texts:
            budget -= size_of(value)
        elif kind not in containers:
            where = "" if depth == 0 else "a container that holds "
            raise NotLiteral(f"{where}a {kind.__name__}, not a plain value")
        elif depth >= MAX_DEPTH:
            raise NotLiteral(f"a value nested more than {MAX_DEPTH} deep")
        else:
            budget -= 1
            items = (part for pair in value.items() for part in pair) if kind is mapping else value
            for item in items:
                budget = measure(item, depth + 1, budget)
                if budget < 0:  # an item takes a character at least, so shared references cannot blow this up
                    raise TooLong(message)
        return budget

    def make(value: Any, limit: int) -> str:
        if measure(value, 0, limit) < 0:
            raise TooLong(message)
        text = text_of(value)
        if size_of(text.encode("utf-8", "backslashreplace")) > limit:
            raise TooLong(message)
        return text

    return make


literal = _maker()
