"""What stands in the checker for an object that stayed in the program's process.

Its methods, attributes and operators are the program's, so what comes back is the program's word; but the program has
no say in a comparison with what the test itself holds. So of an object and a plain value
- equality is decided here: an object equals none, and one of a subclass of plain data equals what it holds;
- every other operator is refused, as if the class had none (what the object holds counts again), lest `f(2) - 1.41` is
  whatever the program likes. Of an object that the test itself made by the name of a class, `Vec(1, 2) * 3`, another
  object may come out; a plain value makes the test one that cannot be judged apart, and so does whatever makes a plain
  value of such a result without naming an attribute or method.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from domino_lightning.execution.sandbox.inside.exceptions import builtin_base


class Unproxyable(BaseException):
    """The test code cannot run in a process of its own; the message says why."""


def is_class_name(name: str) -> bool:
    """Whether a test that uses a name means a class by it: `Vec`, `P`, and not `LIMIT` or `f`."""
    name = name.lstrip("_")
    return name[:1].isupper() and (len(name) == 1 or not name.isupper())


class Asks(Protocol):
    """What a `Remote` reaches the program through."""

    equals_nothing: bool  # an object was compared with a plain value and held none

    def request(self, message: dict[str, Any], known: list[Any] | None = None) -> Any:
        """The value of the program's reply."""

    def encode(self, value: object, known: list[Any] | None = None) -> object:
        """The tree of a value of the test's own."""

    def mentions(self, name: str) -> bool:
        """Whether the test asks for an attribute of this name."""

    def refuse(self, why: str) -> Unproxyable:
        """The exception to raise where the test cannot be judged apart."""


_FIELDS = ("_remote_link", "_remote_made", "_remote_mixed", "_remote_named", "_remote_number", "_remote_type")


class Remote:
    """An object that stayed in the program's process; an exception is one here too, see `stand_in`."""

    __slots__ = ()
    _remote_link: Asks
    _remote_number: int
    _remote_type: str
    _remote_named: bool  # the test knows it as a class
    _remote_made: bool  # the test made it of a class that it names
    _remote_mixed: bool  # an operator with a plain value gave it

    def __init__(self, link: Asks, number: int, kind: str, *_: object) -> None:
        values = {"link": link, "number": number, "type": kind, "named": False, "made": False, "mixed": False}
        for name, value in values.items():
            object.__setattr__(self, f"_remote_{name}", value)

    def _remote_mark(self, *marks: str) -> None:
        for mark in marks:
            object.__setattr__(self, f"_remote_{mark}", True)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it in the program's process."""
        known: list[Any] = []
        tree = self._remote_link.encode((arguments, named), known)
        found = self._remote_link.request({"o": "call", "h": self._remote_number, "a": tree}, known)
        if isinstance(found, Remote):  # a method that gives back its object gives whatever the program likes
            object.__setattr__(found, "_remote_made", self._remote_named)
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and not self._remote_link.mentions(name):  # a library tries what it could be
            raise AttributeError(name)
        found = self._remote_link.request({"o": "get", "h": self._remote_number, "n": name})
        if isinstance(found, Remote) and self._remote_named:
            found._remote_mark("named")  # such as a class method
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        tree = self._remote_link.encode(value)
        self._remote_link.request({"o": "set", "h": self._remote_number, "n": name, "v": tree})

    def __delattr__(self, name: str) -> None:
        self._remote_link.request({"o": "drop", "h": self._remote_number, "n": name})

    def __iter__(self) -> Iterator[Any]:
        found = self._remote_link.request({"o": "every", "h": self._remote_number})
        return iter(found if isinstance(found, Iterator) else ())

    def __next__(self) -> Any:
        found = self._remote_link.request({"o": "next", "h": self._remote_number})
        if type(found) is not list or not found:
            raise StopIteration
        return found[0]

    def _remote_more(self) -> Any:
        """The next items of an iterator."""
        return self._remote_link.request({"o": "more", "h": self._remote_number})

    def _remote_plain(self) -> Any:
        """What an object of a subclass of plain data holds, else None."""
        found = self._remote_link.request({"o": "plain", "h": self._remote_number})
        return None if isinstance(found, Remote) else found

    def _remote_apply(self, function: str, *arguments: Any) -> Any:
        """What a function makes of this object alone, or of it and others of the program's."""
        trees = [self._remote_link.encode(argument) for argument in arguments]
        return self._remote_link.request({"o": "apply", "f": function, "a": trees})

    def _remote_alone(self, function: str, *arguments: Any) -> Any:
        """What a function makes of this object; nothing plain, if it came of an operator with a plain value."""
        found = self._remote_apply(function, self, *arguments)
        if self._remote_mixed:
            if not isinstance(found, Remote):
                raise self._remote_link.refuse(f"it takes {function} of what an operator gave")
            found._remote_mark("made", "mixed")
        return found

    def _remote_as(self, function: str, kind: type, *arguments: Any) -> Any:
        """The same, where it must be of one type."""
        found = self._remote_alone(function, *arguments)
        if type(found) is not kind:
            raise TypeError(f"{function}() of a {self._remote_type} gave no {kind.__name__}")
        return found

    def _remote_with(self, function: str, other: object, reflected: bool = False) -> Any:
        """What an operator makes of this object and another value; `other` comes first if it is reflected."""
        pair = (other, self) if reflected else (self, other)
        if isinstance(other, Remote):
            found, mixed = self._remote_apply(function, *pair), self._remote_mixed or other._remote_mixed
            if isinstance(found, Remote) and (self._remote_made or other._remote_made):
                found._remote_mark("made", *["mixed"] * mixed)
            elif not isinstance(found, Remote) and function not in _COMPARISONS and mixed:
                raise self._remote_link.refuse(f"it takes {function} of what an operator gave")
            return found
        if self._remote_made:
            found = self._remote_apply(function, *pair)
            if not isinstance(found, Remote):
                raise self._remote_link.refuse(f"it takes {function} of an object and a plain value")
            found._remote_mark("made", "mixed")
            return found
        held = self._remote_plain() if function in _OPERATORS else None  # one in place falls back on one that is not
        if held is None:
            return NotImplemented
        return _OPERATORS[function](*((other, held) if reflected else (held, other)))

    def __getitem__(self, key: Any) -> Any:
        return self._remote_apply("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._remote_apply("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._remote_apply("delitem", self, key)

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, Remote):
            return self._remote_apply("contains", self, item) is True
        held = self._remote_plain()
        if held is not None:
            return bool(item in held)
        try:
            return any(each is item or each == item for each in self)
        except TypeError:
            if self._remote_made:
                raise self._remote_link.refuse("it asks what is in an object") from None
            raise

    def __len__(self) -> int:
        return int(self._remote_as("len", int))

    def __bool__(self) -> bool:
        return bool(self._remote_as("bool", bool))

    def __str__(self) -> str:
        return str(self._remote_as("str", str))

    def __repr__(self) -> str:
        return str(self._remote_as("repr", str))

    def __format__(self, spec: str) -> str:
        return str(self._remote_as("format", str, spec))

    def __bytes__(self) -> bytes:
        return bytes(self._remote_as("bytes", bytes))

    def __int__(self) -> int:
        return int(self._remote_as("int", int))

    def __float__(self) -> float:
        return float(self._remote_as("float", float))

    def __complex__(self) -> complex:
        return complex(self._remote_as("complex", complex))

    def __index__(self) -> int:
        return int(self._remote_as("index", int))

    def __dir__(self) -> list[str]:
        return [str(name) for name in self._remote_as("dir", list)]

    def __hash__(self) -> int:
        return int(self._remote_as("hash", int))

    def __round__(self, *digits: Any) -> Any:
        return self._remote_alone("round", *digits)

    def __deepcopy__(self, memo: object) -> Any:
        return self._remote_alone("deepcopy")

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return self._remote_with("pow", other) if modulus is None else NotImplemented

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Remote):
            return self._remote_with("eq", other)  # the program's, which need not be a truth value
        held = self._remote_plain()
        if held is None:
            self._remote_link.equals_nothing = True
        return held is not None and bool(held == other)

    def __ne__(self, other: object) -> Any:
        return self._remote_with("ne", other) if isinstance(other, Remote) else not self == other


def stand_in(kind: str, base: type[BaseException] | None) -> type[Remote]:
    """The class of stand-ins for objects of one class, called as that is; exceptions can be raised.

    Args:
        kind: the name of the class.
        base: of an exception, the nearest class that is the same in both processes.
    """
    name = kind if kind.isidentifier() else "object"
    if base is None:
        return type(name, (Remote,), {"__slots__": _FIELDS})
    native: Any = builtin_base(base)

    def new(cls: Any, link: Asks, number: int, kind: str, *arguments: Any) -> Any:
        try:
            made = native.__new__(cls, *arguments)
            native.__init__(made, *arguments)
        except Exception:  # the class takes other arguments than it gives its base
            made = native.__new__(cls)
            BaseException.__setattr__(made, "args", arguments)
        return made

    def change(self: Remote, name: str, value: Any) -> None:
        set_here = BaseException.__setattr__ if name.startswith("__") else Remote.__setattr__  # `__traceback__`
        set_here(self, name, value)

    held = property(lambda self: Remote.__getattr__(self, "__dict__"))
    own = {"__new__": new, "__setattr__": change, "__dict__": held}
    return type(name, (Remote, base), own)


def _alone(function: str) -> Callable[[Remote], Any]:
    return lambda self: self._remote_alone(function)


def _binary(function: str, reflected: bool = False) -> Callable[[Remote, Any], Any]:
    return lambda self, other: self._remote_with(function, other, reflected)


_ORDER = ("lt", "le", "gt", "ge")
_COMPARISONS = (*_ORDER, "eq", "ne")
_ARITHMETIC = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "and_", "or_", "xor", "lshift",
    "rshift",
)  # fmt: skip
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "divmod": divmod,
    **{name: getattr(operator, name) for name in (*_ORDER, *_ARITHMETIC) if name != "divmod"},
}
for _name in ("abs", "neg", "pos", "invert", "floor", "ceil", "trunc", "copy", "reversed"):
    setattr(Remote, f"__{_name}__", _alone(_name))
for _name in _ORDER:
    setattr(Remote, f"__{_name}__", _binary(_name))
for _name in _ARITHMETIC:
    _bare = _name.rstrip("_")
    if _name != "pow":
        setattr(Remote, f"__{_bare}__", _binary(_name))
    setattr(Remote, f"__r{_bare}__", _binary(_name, reflected=True))
    if _name != "divmod":
        setattr(Remote, f"__i{_bare}__", _binary(f"i{_bare}"))
