"""Whether a value is what an annotation says, however nested, and in words where it is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cache, partial
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from domino_lightning.utils.jsonl import json_fault

_WORDS = {str: "a text", bool: "True or False", int: "a whole number", float: "a number", NoneType: "None"}
_hints = cache(partial(get_type_hints, include_extras=True))
_short = Repr()
_short.maxother = _short.maxstring = 60


class Fault(NamedTuple):
    """What is wrong within a value.

    Attributes:
        path: where, as in `[3]['name'].field`; empty: the value itself.
        found: what is there, in words.
    """

    path: str
    found: str


def fault_of(value: Any, wanted: Any, path: str = "") -> Fault | None:
    """Where a value first is not of a type; None if all of it is.

    A sequence's type is met by any sized collection with an order. Values of a `dict[str, Any]` are to be written as
    JSON, as all are in this package. What annotates a type (`Annotated[float, UNIT]`) holds the values it admits, and
    says by `words` which those are. Types that say nothing here are met by anything.
    """
    origin: Any = get_origin(wanted)
    args = get_args(wanted)
    wrong = Fault(path, shown(value))
    if origin is Annotated:
        return fault_of(value, args[0], path) or (None if all(value in each for each in rules(wanted)) else wrong)
    if origin in (Union, UnionType):
        faults = [fault_of(value, each, path) for each in args]
        inner = (fault for fault in faults if fault is not None and fault.path != path)
        return None if None in faults else next(inner, wrong)
    if origin is Literal:
        return None if any(value == each and type(value) is type(each) for each in args) else wrong
    if (item := item_of(wanted)) is not None:
        if not has_items(value, wanted) or not isinstance(value, Collection):
            return wrong
        return _first(fault_of(each, item, f"{path}[{place}]") for place, each in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _of_values(value, args, path) if isinstance(value, dict if origin is dict else Mapping) else wrong
    if origin is tuple:
        if not isinstance(value, tuple) or len(value) != len(args):
            return wrong
        return _first(fault_of(each, args[place], f"{path}[{place}]") for place, each in enumerate(value))
    kind = origin or wanted
    if kind is Any or not isinstance(kind, type):
        return None
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind in (int, float)):
        return wrong
    return _of_fields(value, kind, path) if issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def rules(wanted: Any) -> tuple[Any, ...]:
    """What annotates a type; nothing in most cases."""
    return getattr(wanted, "__metadata__", ())


def _of_values(value: Mapping[Any, Any], types: tuple[Any, ...], path: str) -> Fault | None:
    """What is wrong with the keys, which are texts, and the values of a mapping."""
    names, wanted = types
    for key in value:
        if not isinstance(key, str) or fault_of(key, names):
            return Fault(f"{path} key".lstrip(), shown(key))
    if wanted is Any:
        return Fault(path + found[0], shown(found[1])) if (found := json_fault(value)) else None
    return _first(fault_of(each, wanted, f"{path}[{key!r}]") for key, each in value.items())


def _of_fields(value: Any, kind: type, path: str) -> Fault | None:
    """What is wrong with the fields of a named tuple, whose class may say by `fault` which of them cannot be."""
    for name, hint in _hints(kind).items():
        if found := fault_of(getattr(value, name), hint, f"{path}.{name}"):
            asked = f"; it must be {said(hint)}" if rules(hint) else ""  # which the name of the tuple does not tell
            return found._replace(found=f"{found.found}{asked}")
    if hasattr(value, "fault") and (name := value.fault()):
        return Fault(f"{path}.{name}", shown(getattr(value, name)))
    return None


def _first(faults: Iterable[Fault | None]) -> Fault | None:
    return next((fault for fault in faults if fault is not None), None)


def item_of(wanted: Any) -> Any:
    """The type of a sequence's or set's items; None of another type."""
    origin, args = get_origin(wanted), get_args(wanted)
    if not isinstance(origin, type) or not issubclass(origin, Iterable) or issubclass(origin, Mapping):
        return None
    return args[0] if origin is not tuple or args[1:] == (...,) else None


def has_items(value: object, wanted: Any) -> bool:
    """Whether a value has items as a type of sequences, or of sets, has them."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    return isinstance(value, AbstractSet) == issubclass(get_origin(wanted) or object, AbstractSet)


def shown(value: object) -> str:
    """A value in a few words with its type, and what to make of it if it is another library's number."""
    text, kind = " ".join(_short.repr(value).split()), type(value)
    if value is None or kind is bool:
        return text
    return f"{text} (of type {kind.__name__}{_plain(value)})"


def _plain(value: Any) -> str:
    """How to make Python's own number of one of NumPy's or torch's; empty for anything else."""
    if type(value).__module__ not in ("numpy", "torch") or getattr(value, "shape", None) != ():
        return ""
    return f"; write {type(value.item()).__name__}(...) around it"


def said(wanted: Any) -> str:
    """A type in words."""
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return " ".join([said(args[0]), *(each.words for each in rules(wanted))])
    if wanted in _WORDS:
        return _WORDS[wanted]
    if origin in (Union, UnionType):
        return " or ".join(map(said, args))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if (item := item_of(wanted)) is not None:
        return f"a {'set' if issubclass(origin or object, AbstractSet) else 'list'}, each item {said(item)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        values = "what JSON can hold" if args[1] is Any else said(args[1])
        named = " ".join(["by names", *(each.words for each in rules(args[0]))])
        return f"a {'dict' if origin is dict else 'mapping'} {named}, each value {values}"
    if origin is tuple:
        return f"a tuple of {', '.join(map(said, args))}"
    if hasattr(wanted, "_fields"):
        return f"a {wanted.__name__}({', '.join(wanted._fields)})"
    return f"a {getattr(wanted, '__name__', wanted)}"
