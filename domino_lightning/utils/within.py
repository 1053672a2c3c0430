"""Everything that an object holds, for those who must look at all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any


def everything_in(instance: object) -> Iterator[Any]:
    """An object, then what it holds in attributes, mappings and collections, each once; plain values are left out."""
    seen: set[int] = set()
    waiting: list[Any] = [instance]
    while waiting:
        each = waiting.pop()
        if each is None or isinstance(each, (str, bytes, int, float)) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        if not isinstance(each, type) and not isinstance(each, ModuleType):
            waiting += getattr(each, "__dict__", {}).values()
