"""What a base class asks of those that forks derive from it, held where their methods return.

A contract is the base class's annotations: a method that a subclass overrides returns what the base's says, and a class
attribute is what it says. So one place refuses what a fork gives, by name, before anything goes on with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, wraps
from inspect import signature
from types import FunctionType
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin

from domino_lightning.errors import UserError
from domino_lightning.utils.conformance import Fault, fault_of, has_items, item_of, said
from domino_lightning.utils.own_frames import own_frames
from domino_lightning.utils.within import everything_in

F = TypeVar("F", bound=Callable[..., Any])


class BrokenContract(UserError):
    """A class that a document names does not give what its base class says."""


class Sizes(NamedTuple):
    """How many items each item of an argument of several has."""

    argument: str
    sizes: Sequence[int]


class Contract:
    """Base of the classes that forks derive from and name by `class_path`.

    The one that states a contract gives the class keyword `more`: the words that end a message about a class that
    breaks it, on who tries such a class or where it is described.
    """

    _contract: ClassVar[type]
    _more: ClassVar[str]

    def __init_subclass__(cls, more: str = "", **others: Any) -> None:
        """State a contract, or hold what a subclass overrides to the one it derives from."""
        super().__init_subclass__(**others)
        if more:
            cls._contract, cls._more = cls, more
            return
        for name, method in list(vars(cls).items()):
            base = getattr(cls._contract, name, None)
            promised = getattr(base, "__func__", base)
            if not isinstance(promised, FunctionType):
                continue
            if isinstance(method, FunctionType):
                setattr(cls, name, _held(promised, method))
            elif isinstance(method, classmethod):
                setattr(cls, name, classmethod(_held(promised, method.__func__)))


def one_each(method: F) -> F:
    """Say of a method of a contract that it gives one result for each item of its first argument."""
    method.__one_each__ = True  # type: ignore[attr-defined]
    return method


def one_each_in(argument: str) -> Callable[[F], F]:
    """Say of such a method that each result has one item for each of those that an argument has in its place."""

    def mark(method: F) -> F:
        method.__one_each_in__ = argument  # type: ignore[attr-defined]
        return one_each(method)

    return mark


def broken(described: object, problem: str) -> BrokenContract:
    """The error about an object, or a class, that does not keep its contract."""
    cls = described if isinstance(described, type) else type(described)
    contract, more = cls._contract, cls._more  # type: ignore[attr-defined]
    return breaks(cls, f"{_face(contract)}.{contract.__name__}", problem, more)


def breaks(cls: type, contract: str, problem: str, more: str) -> BrokenContract:
    """The error about a class that does not keep a contract, which has a name of its own."""
    return BrokenContract(f"{cls.__module__}.{cls.__qualname__} breaks {contract}: {problem}. {more}")


def _face(contract: type) -> str:
    """Where users import a base class from: the folder that it lies in, or the module where that does not show it."""
    folder = ".".join(contract.__module__.split(".")[:2])
    shows = getattr(sys.modules.get(folder), contract.__name__, None) is contract
    return folder if shows else contract.__module__


def check_attributes(held: object) -> None:
    """Look at the class attributes of all objects of a contract that an object holds.

    Raises:
        BrokenContract: one that is missing, or is not what the contract says.
    """
    for each in everything_in(held):
        if not isinstance(each, Contract):
            continue
        contract = each._contract
        for name, written in contract.__annotations__.items():
            wanted = _evaluated(written, vars(sys.modules[contract.__module__]))
            wanted = get_args(wanted)[0] if get_origin(wanted) is ClassVar else wanted
            if not hasattr(each, name):
                raise broken(each, f"it has no '{name}': give it one, {said(wanted)}")
            if fault := fault_of(getattr(each, name), wanted):
                raise broken(each, f"'{name}' must be {said(wanted)}, and {name}{fault.path} is {fault.found}")


def _held(promised: FunctionType, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which gives what was promised or raises."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = next(iter((*args, *kwargs.values())), None)
        asked = len(first) if hasattr(promised, "__one_each__") and isinstance(first, Collection) else None
        like = None
        if inner := getattr(promised, "__one_each_in__", None):
            given = _argument((promised, method), inner, self, *args, **kwargs)
            like = Sizes(inner, list(map(len, given))) if isinstance(given, Collection) else None
            asked = len(like.sizes) if asked is None and like is not None else asked
        try:
            value = method(self, *args, **kwargs)
        except SystemExit as error:
            raise _exited(self, promised.__name__, error) from error
        return returned(self, promised.__name__, value, _promise(promised), asked, like)

    return call


def _argument(methods: Iterable[Callable[..., Any]], name: str, *args: Any, **kwargs: Any) -> Any:
    """What a call gives as an argument, by the first of the methods that can be called so; None where none has it."""
    for method in methods:
        with suppress(TypeError):
            return signature(method).bind(*args, **kwargs).arguments.get(name)
    return None


def _exited(by: object, method: str, error: SystemExit) -> BrokenContract:
    """The error about a method that would end the process, and with it whatever was to come after."""
    told = broken(by, f"{method} must return or raise an error, and called sys.exit({error.code!r})")
    return BrokenContract(f"{told}\n{own_frames(error)}".rstrip())


def returned(
    by: object,
    method: str,
    value: Any,
    wanted: Any,
    asked: int | None = None,
    like: Sizes | None = None,
) -> Any:
    """What a method returned, as it was promised: a list where any iterable would do, items looked at as they come.

    Args:
        by: the object, or class, whose method it is.
        method: its name.
        value: what it returned.
        wanted: the type that it was to have.
        asked: how many items it was to have; None: any number.
        like: how many each of its items was to have; None: any number.

    Raises:
        BrokenContract: it is none of that type.
    """
    if get_origin(wanted) is Annotated:
        value = returned(by, method, value, get_args(wanted)[0], asked, like)
    origin, item = get_origin(wanted), item_of(wanted)
    if item is not None and has_items(value, wanted):
        each = _each(by, method, value, wanted, item, asked, like)
        if origin is Iterator and not isinstance(value, list | tuple):
            return each
        found = list(each)
        return iter(found) if origin is Iterator else value if isinstance(value, list | tuple) else found
    if fault := fault_of(value, wanted):
        raise broken(by, f"{method} must return {said(wanted)}, and {_told(fault)}")
    return value


def _each(
    by: object, method: str, items: Any, wanted: Any, item: Any, asked: int | None, like: Sizes | None
) -> Iterator[Any]:
    count = 0
    for value in _unless_exited(by, method, items):
        if fault := fault_of(value, item):
            told = _told(fault._replace(path=f"[{count}]{fault.path}"))
            raise broken(by, f"{method} must return {said(wanted)}, and {told}")
        if count == asked:
            raise broken(by, f"{method} must return one result for each of the {asked} it was given, and gave more")
        if like is not None and len(value) != like.sizes[count]:
            told = f"must return as many items in [{count}] as {like.argument}[{count}] has, {like.sizes[count]}"
            raise broken(by, f"{method} {told}, and gave {len(value)}")
        count += 1
        yield value
    if asked is not None and count < asked:
        raise broken(by, f"{method} must return one result for each of the {asked} it was given, and gave {count}")


def _unless_exited(by: object, method: str, items: Any) -> Iterator[Any]:
    try:
        yield from items
    except SystemExit as error:
        raise _exited(by, method, error) from error


@cache
def _promise(method: FunctionType) -> Any:
    wanted = _evaluated(method.__annotations__.get("return"), method.__globals__)
    return Any if wanted is None else wanted  # what is given where nothing was asked is nobody's concern


def _evaluated(written: Any, names: dict[str, Any]) -> Any:
    """A type; one that names what only type checkers know says nothing, and whoever takes such a value looks at it."""
    try:
        return eval(written, names) if isinstance(written, str) else written
    except NameError:
        return Any


def _told(fault: Fault) -> str:
    return f"in what it returned {fault.path} is {fault.found}" if fault.path else f"returned {fault.found}"
