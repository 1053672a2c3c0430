"""Brindle, a language that nobody has seen: made up for this example, with an interpreter that cannot be harmed.

A program is one function and one call of it. Operators stand before their operands and take a fixed number of them, so
that there are no parentheses. There are three types: num (whole numbers), word (texts) and row (lists of numbers).

    fen tarry pim:row ox:num
    mak sel ox
    evr bo pim
      wen gro bo ox
        chg sel zum sel bo
      els
        chg sel kip sel 1
      fin
    fin
    giv sel
    ask tarry [4 9 2] 3

    mak NAME VALUE       a new name with its first value; its type never changes
    chg NAME VALUE       another value of the same type
    wen TEST .. els .. fin    a choice; `els` may be missing
    evr NAME ROW .. fin  once for each number of a row
    giv VALUE            the result; the last statement
    ask NAME VALUE ..    the call, with literals

There is no input, no output and no recursion, and steps and sizes are limited, so every program ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Value = int | str | list[int]

MAX_STEPS, MAX_NUMBER, MAX_SIZE = 2000, 10**9, 60
KEYWORDS = ("fen", "mak", "chg", "wen", "els", "fin", "evr", "giv", "ask")


class BrindleError(ValueError):
    """A text that is no program, or a program that does not end well.

    Attributes:
        reason: `syntax`, `name`, `type`, `limit` or `value`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Operator(NamedTuple):
    """What an operator takes and gives, and how."""

    takes: tuple[str, ...]
    gives: str
    run: Callable[..., Any]


def _modulo(a: int, b: int) -> int:
    if b == 0:
        raise BrindleError("value", "mol by 0")
    return a % b


OPERATORS: Mapping[str, Operator] = {
    "zum": Operator(("num", "num"), "num", lambda a, b: a + b),
    "kip": Operator(("num", "num"), "num", lambda a, b: a - b),
    "dro": Operator(("num", "num"), "num", lambda a, b: a * b),
    "mol": Operator(("num", "num"), "num", _modulo),
    "hig": Operator(("num", "num"), "num", max),
    "lum": Operator(("num", "num"), "num", min),
    "tal": Operator(("row",), "num", sum),
    "cou": Operator(("row",), "num", len),
    "siz": Operator(("word",), "num", len),
    "glu": Operator(("word", "word"), "word", lambda a, b: a + b),
    "rev": Operator(("word",), "word", lambda a: a[::-1]),
    "big": Operator(("word",), "word", str.upper),
    "rep": Operator(("word", "num"), "word", lambda a, n: a * max(0, min(n, MAX_SIZE + 1))),
    "apn": Operator(("row", "num"), "row", lambda r, a: [*r, a]),
    "tur": Operator(("row",), "row", lambda r: r[::-1]),
    "ord": Operator(("row",), "row", sorted),
    "cut": Operator(("row", "num"), "row", lambda r, n: r[: max(0, n)]),
    "gro": Operator(("num", "num"), "test", lambda a, b: a > b),
    "eqi": Operator(("num", "num"), "test", lambda a, b: a == b),
    "evn": Operator(("num",), "test", lambda a: a % 2 == 0),
    "has": Operator(("row", "num"), "test", lambda r, a: a in r),
}


@dataclass(frozen=True)
class Apply:
    """An operator with its operands."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Name:
    """A name."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A value as it is written."""

    value: int | str | tuple[int, ...]


Expression = Apply | Name | Literal


@dataclass(frozen=True)
class Statement:
    """`mak`, `chg`, `wen`, `evr` or `giv` with its name, its expression and the blocks below it."""

    keyword: str
    name: str
    value: Expression
    body: tuple[Statement, ...] = ()
    other: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Program:
    """A function and a call of it."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    body: tuple[Statement, ...]
    arguments: tuple[int | str | tuple[int, ...], ...]


_TOKEN = re.compile(r"\s*(?:(?P<number>-?\d+)|(?P<word>'[^'\n]*')|(?P<name>[a-z]+)|(?P<mark>[:\[\]]))")


def parse(text: str) -> Program:
    """A program whose names and types are right.

    Raises:
        BrindleError: `syntax`, `name` or `type`.
    """
    return _Parser(text).program()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place, text = 0, text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise BrindleError("syntax", f"{text[place : place + 12]!r} is no token")
            self.tokens.append(match[match.lastgroup or ""])
            place = match.end()
        self.place = 0

    def program(self) -> Program:
        """All of it."""
        self._take("fen")
        name = self._name()
        parameters = []
        while self._peek() not in KEYWORDS:
            parameter = self._name()
            self._take(":")
            kind = self._next()
            if kind not in ("num", "word", "row"):
                raise BrindleError("type", f"{kind!r} is no type")
            parameters.append((parameter, kind))
        if len(dict(parameters)) < len(parameters):
            raise BrindleError("name", "two parameters of one name")
        body = self._block(dict(parameters))
        if not body or body[-1].keyword != "giv" or any(_gives_early(body[:-1])):
            raise BrindleError("syntax", "a function ends with its only giv")
        self._take("ask")
        if self._next() != name:
            raise BrindleError("name", "the call is of another function")
        arguments = []
        for parameter, kind in parameters:
            literal, found = self._expression({})
            if not isinstance(literal, Literal) or found != kind:
                raise BrindleError("type", f"argument {parameter} must be a {kind}")
            arguments.append(literal.value)
        if self.place < len(self.tokens):
            raise BrindleError("syntax", f"{self._peek()!r} after the call")
        return Program(name, tuple(parameters), body, tuple(arguments))

    def _block(self, types: dict[str, str]) -> tuple[Statement, ...]:
        """Statements up to what ends a block; names made in it are known to its end."""
        found = []
        while self._peek() in ("mak", "chg", "wen", "evr", "giv"):
            found.append(self._statement(types))
        return tuple(found)

    def _statement(self, types: dict[str, str]) -> Statement:
        keyword = self._next()
        name = "" if keyword in ("wen", "giv") else self._name()
        value, kind = self._expression(types)
        if (kind == "test") != (keyword == "wen"):
            raise BrindleError("type", f"{keyword} takes no {kind}")
        if keyword == "evr" and kind != "row":
            raise BrindleError("type", f"evr takes a row, not a {kind}")
        if keyword in ("mak", "evr") and name in types:
            raise BrindleError("name", f"{name} is there already")
        if keyword == "chg" and types.get(name) != kind:
            raise BrindleError("type" if name in types else "name", f"{name} cannot become a {kind}")
        if keyword == "mak":
            types[name] = kind
        if keyword not in ("wen", "evr"):
            return Statement(keyword, name, value)
        body = self._block({**types, name: "num"} if keyword == "evr" else dict(types))
        other: tuple[Statement, ...] = ()
        if keyword == "wen" and self._peek() == "els":
            self._next()
            other = self._block(dict(types))
        self._take("fin")
        return Statement(keyword, name, value, body, other)

    def _expression(self, types: Mapping[str, str]) -> tuple[Expression, str]:
        token = self._next()
        if token == "[":
            items = []
            while self._peek() != "]":
                if not re.fullmatch(r"-?\d+", self._peek()):
                    raise BrindleError("syntax", f"{self._peek()!r} in a row")
                items.append(_number(self._next()))
            self._next()
            return Literal(tuple(items)), "row"
        if token.startswith("'"):
            return Literal(token[1:-1]), "word"
        if re.fullmatch(r"-?\d+", token):
            return Literal(_number(token)), "num"
        if token in OPERATORS:
            operator = OPERATORS[token]
            operands = []
            for wanted in operator.takes:
                operand, kind = self._expression(types)
                if kind != wanted:
                    raise BrindleError("type", f"{token} takes a {wanted}, not a {kind}")
                operands.append(operand)
            return Apply(token, tuple(operands)), operator.gives
        if token in types:
            return Name(token), types[token]
        raise BrindleError("name" if token.isalpha() else "syntax", f"{token!r} is no value")

    def _name(self) -> str:
        token = self._next()
        if not token.isalpha() or token in KEYWORDS or token in OPERATORS:
            raise BrindleError("syntax", f"{token!r} is no name")
        return token

    def _peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def _next(self) -> str:
        if self.place >= len(self.tokens):
            raise BrindleError("syntax", "the text ends too early")
        self.place += 1
        return self.tokens[self.place - 1]

    def _take(self, wanted: str) -> None:
        if (found := self._next()) != wanted:
            raise BrindleError("syntax", f"{found!r}, where {wanted!r} is expected")


def _number(token: str) -> int:
    if len(token) > len(str(MAX_NUMBER)):
        raise BrindleError("limit", f"the number {token[:12]}... is too large")
    return int(token)


def _gives_early(statements: Sequence[Statement]) -> Iterator[bool]:
    for each in statements:
        yield each.keyword == "giv"
        yield from _gives_early([*each.body, *each.other])


def run(program: Program) -> Value:
    """What the call gives.

    Raises:
        BrindleError: `limit` (too many steps, too large a value) or `value` (a remainder by 0).
    """
    return _Run(program).result()


class _Run:
    def __init__(self, program: Program) -> None:
        self.program = program
        names = [name for name, _ in program.parameters]
        self.values: dict[str, Any] = dict(zip(names, map(_plain, program.arguments), strict=True))
        self.steps = 0

    def result(self) -> Value:
        """Of the last statement."""
        self._block(self.program.body[:-1])
        found: Value = self._value(self.program.body[-1].value)
        return found

    def _block(self, statements: Sequence[Statement]) -> None:
        for each in statements:
            value = self._value(each.value)
            if each.keyword == "wen":
                self._block(each.body if value else each.other)
            elif each.keyword == "evr":
                for item in value:
                    self.values[each.name] = item
                    self._block(each.body)
            else:
                self.values[each.name] = value

    def _value(self, expression: Expression) -> Any:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise BrindleError("limit", f"more than {MAX_STEPS} steps")
        if isinstance(expression, Literal):
            return _plain(expression.value)
        if isinstance(expression, Name):
            return self.values[expression.name]
        operands = [self._value(each) for each in expression.operands]
        value = OPERATORS[expression.operator].run(*operands)
        size = abs(value) / MAX_NUMBER if isinstance(value, int) else len(value) / MAX_SIZE
        if size > 1:
            raise BrindleError("limit", f"{expression.operator} gives too large a value")
        return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def show(value: Value | tuple[int, ...]) -> str:
    """A value as it is written in a program."""
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(str, value))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)


def write(program: Program, with_call: bool = True) -> str:
    """The program in its one layout: a statement a line, two blanks for each block."""
    head = f"fen {program.name}" + "".join(f" {name}:{kind}" for name, kind in program.parameters)
    call = f"ask {program.name}" + "".join(f" {show(value)}" for value in program.arguments)
    return "\n".join([head, *_lines(program.body, ""), *([call] if with_call else [])])


def _lines(statements: Sequence[Statement], indent: str) -> Iterator[str]:
    for each in statements:
        yield indent + " ".join(filter(None, (each.keyword, each.name, _written(each.value))))
        yield from _lines(each.body, indent + "  ")
        if each.other:
            yield f"{indent}els"
            yield from _lines(each.other, indent + "  ")
        if each.keyword in ("wen", "evr"):
            yield f"{indent}fin"


def _written(expression: Expression) -> str:
    if isinstance(expression, Apply):
        return " ".join([expression.operator, *map(_written, expression.operands)])
    return expression.name if isinstance(expression, Name) else show(expression.value)


def without_names(program: Program) -> str:
    """The function with its names numbered in the order in which they come: copies up to names are equal."""
    renamed: dict[str, str] = {}
    tokens = re.findall(r"'[^'\n]*'|[a-z]+|\S", write(program, with_call=False))
    reserved = {*KEYWORDS, *OPERATORS, "num", "word", "row"}
    return " ".join(
        renamed.setdefault(token, f"n{len(renamed)}") if token.isalpha() and token not in reserved else token
        for token in tokens
    )
