"""Types of constructors for jsonargparse, evaluated before it would do that by running blocks for type checkers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


def evaluate_types(cls: T) -> T:
    """Replace annotations that are text by what they name, in the constructor and in those of dataclasses it takes.

    Of a text, jsonargparse evaluates all of the module's `if TYPE_CHECKING:` blocks, so that reading a section's keys
    would import Lightning and the models of transformers: seconds that a check does without. What cannot be evaluated
    here is left to it.
    """
    for each in getattr(cls, "__mro__", ()):
        init = vars(each).get("__init__")
        written = getattr(init, "__annotations__", {})
        if not any(isinstance(hint, str) for hint in written.values()):
            continue
        try:
            hints = get_type_hints(each) if is_dataclass(each) else get_type_hints(init)
        except Exception:  # a name that is there for type checkers alone
            continue
        found = {name: hints[name] for name in written if name in hints}
        init.__annotations__ = written | found
        for taken in classes(list(found.values())):
            if is_dataclass(taken):
                evaluate_types(taken)
    return cls


def classes(hints: Any) -> Iterator[type]:
    """The classes that types name, however nested."""
    for hint in hints:
        if isinstance(hint, type):
            yield hint
        yield from classes(get_args(hint))
