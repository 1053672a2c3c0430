"""Runs beside a program in the sandbox: what its calls come to, all in one process, each on its own arguments."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_SCALARS = (type(None), bool, int, str, bytes)
_CONTAINERS = (list, tuple, set, frozenset)
_MAX_DEPTH = 40
_MAX_REPR = 4000


def plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is of exact built-in types throughout, and finite."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is float:
        return math.isfinite(value)
    if depth > _MAX_DEPTH:
        return False
    if kind in _CONTAINERS:
        return all(plain(item, depth + 1) for item in value)
    return kind is dict and all(plain(k, depth + 1) and plain(v, depth + 1) for k, v in value.items())


def outcome(call: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]) -> tuple[str, Any]:
    """("value", what a call returns), or another word and the name of an exception or type."""
    try:
        value = call(*copy.deepcopy(positional), **copy.deepcopy(named))
        if not plain(value):
            return "no plain value", type(value).__name__
        return ("value", value) if len(repr(value)) <= _MAX_REPR else ("long", type(value).__name__)
    except (Exception, SystemExit) as error:
        return "raised", type(error).__name__


Cases = Iterable[tuple[Sequence[Any], Mapping[str, Any]]]


def on_all(call: Callable[..., Any]) -> Callable[[Cases], list[tuple[str, Any]]]:
    """A function of cases, (positional, named) arguments, that gives the outcome of each."""
    return lambda cases: [outcome(call, positional, named) for positional, named in cases]
