"""Inputs on which solutions of a code-generation problem are compared: those that its tests state, and variations."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.python.source import parse_python
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.seeding import derived_seed

_ATTEMPTS = 20  # per input that is wanted; small values have few variations
_INTEGER = re.compile(r"(?<![\w.])-?\d+(?![\w.])")


class Arguments(NamedTuple):
    """What a function is called with: plain values only."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def stated_arguments(record: Mapping[str, Any]) -> list[Arguments]:
    """The arguments that the problem's own tests call its entry point with, each once, where they are literals."""
    found: dict[str, Arguments] = {}
    for test in record["tests"]:
        if test["type"] == "functional":
            values = tuple(json.loads(line) for line in test["input"].split("\n") if line.strip())
            found.setdefault(repr(values), Arguments(values, {}))
        elif test["type"] == "assert":
            for arguments in _called_with(test["code"], str(record["entry_point"])):
                found.setdefault(repr(arguments), arguments)
    return list(found.values())


def stated_stdin(record: Mapping[str, Any]) -> list[str]:
    """The inputs of whole programs that the problem's own tests give, each once."""
    return list(dict.fromkeys(test["input"] for test in record["tests"] if test["type"] == "stdin"))


def varied_arguments(record: Record, stated: list[Arguments], count: int, seed: int) -> list[Arguments]:
    """The stated arguments, and variations of them until there are `count`, keyed by (seed, id)."""
    generator = random.Random(derived_seed("inputs", seed, str(record["id"])))
    found = {repr(each): each for each in stated[:count]}
    for _ in range(_ATTEMPTS * count if stated else 0):
        if len(found) >= count:
            break
        changed = _varied(generator.choice(stated), generator)
        found.setdefault(repr(changed), changed)
    return list(found.values())


def varied_stdin(record: Record, stated: list[str], count: int, seed: int) -> list[str]:
    """The stated inputs, and copies with some integers changed until there are `count`; layout stays as it is."""
    generator = random.Random(derived_seed("inputs", seed, str(record["id"])))
    found = dict.fromkeys(stated[:count])
    for _ in range(_ATTEMPTS * count if stated else 0):
        if len(found) >= count:
            break
        text = generator.choice(stated)
        places = [match.span() for match in _INTEGER.finditer(text)]
        if places:
            start, end = generator.choice(places)
            found.setdefault(f"{text[:start]}{_integer(int(text[start:end]), generator)}{text[end:]}")
    return list(found)


def _called_with(code: str, entry_point: str) -> Iterator[Arguments]:
    try:
        tree = parse_python(code)
    except Unparsable:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", None)) == entry_point:
            try:
                positional = tuple(ast.literal_eval(each) for each in node.args)
                named = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords if each.arg}
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
            if all(each.arg for each in node.keywords):
                yield Arguments(positional, named)


def _varied(arguments: Arguments, generator: random.Random) -> Arguments:
    """The arguments with one of them changed."""
    places: list[int | str] = [*range(len(arguments.positional)), *arguments.named]
    if not places:
        return arguments
    place = generator.choice(places)
    if isinstance(place, str):
        return Arguments(arguments.positional, {**arguments.named, place: vary(arguments.named[place], generator)})
    values = list(arguments.positional)
    values[place] = vary(values[place], generator)
    return Arguments(tuple(values), arguments.named)


def vary(value: Any, generator: random.Random) -> Any:
    """A plain value of the same type, a small step away; None stays None."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return _integer(value, generator)
    if isinstance(value, float):
        return generator.choice([value + 0.5, value * 2, -value, 0.0])
    if isinstance(value, str):
        return "".join(_rearranged(list(value), generator, _letter))
    if isinstance(value, list | tuple):
        return type(value)(_rearranged(list(value), generator, vary))
    if isinstance(value, set | frozenset):
        ordered = sorted(value, key=repr)
        return type(value)(_rearranged(ordered, generator, vary))
    if isinstance(value, dict) and value:
        key = generator.choice(list(value))
        return {**value, key: vary(value[key], generator)}
    return value


def _integer(value: int, generator: random.Random) -> int:
    return generator.choice(
        [value + 1, value - 1, value + generator.randint(2, 9), value * 2, value // 2, 0, 1, -value]
    )


def _letter(letter: str, generator: random.Random) -> str:
    if letter.isdigit():
        return generator.choice("0123456789")
    if letter.isalpha():
        return generator.choice([letter.swapcase(), generator.choice("abcdefghijklmnopqrstuvwxyz")])
    return letter


def _rearranged(items: list[Any], generator: random.Random, change: Any) -> list[Any]:
    """The items with one left out, repeated, moved or changed."""
    if not items:
        return items
    place = generator.randrange(len(items))
    kind = generator.choice(["drop", "repeat", "move", "change", "change"])
    if kind == "drop":
        return items[:place] + items[place + 1 :]
    if kind == "repeat":
        return [*items[:place], items[place], *items[place:]]
    if kind == "move":
        rest = items[:place] + items[place + 1 :]
        to = generator.randint(0, len(rest))
        return [*rest[:to], items[place], *rest[to:]]
    return [*items[:place], change(items[place], generator), *items[place + 1 :]]
