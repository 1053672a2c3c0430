"""What there is of an exception: its built-in class, its arguments, and the fields that these do not give."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import Any

from domino_lightning.execution.sandbox.inside.values import known_name

_GENUINE = sys.stdlib_module_names | {"numpy"}
_OF_ERRORS = ("__cause__", "__context__", "__notes__", "__suppress_context__")


def is_plain_error(value: object) -> bool:
    """Whether it is an exception of exactly a built-in class."""
    return isinstance(value, BaseException) and known_name(type(value)) is not None


def builtin_base(kind: type) -> type[BaseException]:
    """The nearest built-in class of a class of exceptions."""
    return next((base for base in kind.__mro__ if known_name(base) and issubclass(base, BaseException)), Exception)


def genuine_names(kind: type) -> list[str]:
    """The classes that a class of exceptions derives from, nearest first, which are the same in every interpreter."""
    named = ((f"{base.__module__}.{base.__name__}", base) for base in kind.__mro__)
    return [name for name, base in named if genuine_class([name]) is base]


def genuine_class(names: Iterable[str]) -> type[BaseException] | None:
    """The first of some classes of exceptions that a module of the standard library or NumPy has; none is imported."""
    for name in names:
        module, _, last = name.rpartition(".")
        if module.partition(".")[0] in _GENUINE and module in sys.modules:
            kind = vars(sys.modules[module]).get(last)
            if isinstance(kind, type) and issubclass(kind, BaseException):
                return kind
    return None


def fields_of(error: BaseException, kind: type[BaseException], asked: Iterable[str]) -> dict[str, Any]:
    """What an exception has beyond its arguments: its cause and the like, and fields that these do not give.

    Args:
        error: an exception.
        kind: the built-in class that it is, or is sent as.
        asked: names of interest.
    """
    own = vars(error) if type(error) is kind else {}
    return {
        name: getattr(error, name, None)
        for name in sorted(asked)  # `__suppress_context__` after `__cause__`, which sets it
        if is_field(name) and (name in own or not callable(getattr(kind, name, len)))
    }


def is_field(name: str) -> bool:
    """Whether an exception may have an attribute of this name that no other has, or has another of."""
    return name in _OF_ERRORS or not hasattr(BaseException, name)


def set_fields(error: BaseException, fields: dict[str, Any]) -> None:
    """Give an exception of another process the fields that it does not have by its arguments.

    Raises:
        TypeError, ValueError: it cannot have such a one.
    """
    for name, value in fields.items():
        if is_field(name) and value is not None:
            with contextlib.suppress(AttributeError):  # one that cannot be set comes of the arguments
                BaseException.__setattr__(error, name, value)


def make_error(kind: type[BaseException], message: str, arguments: Any) -> BaseException:
    """An exception of a built-in class from its arguments, or, where these do not give the message, from that."""
    if isinstance(arguments, list):
        try:
            made = kind(*arguments)
            if str(made) == message:
                return made
        except Exception:  # noqa: S110  whatever these arguments are
            pass
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError wants five arguments
        return ValueError(message) if issubclass(kind, ValueError) else RuntimeError(message)
