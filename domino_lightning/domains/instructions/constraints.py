"""What a constraint is: a check of an answer, and the arguments it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from domino_lightning.domains.instructions.language import NAMES

Kind = Literal["count", "text", "texts", "relation", "letter", "language"]

RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "less than": lambda found, asked: found < asked,
    "at least": lambda found, asked: found >= asked,
    "at most": lambda found, asked: found <= asked,
    "exactly": lambda found, asked: found == asked,
}
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth"
_SPOKEN: dict[int, set[str]] = {number: {word} for number, word in enumerate(_ONES.split())}
for _number, _word in enumerate(_ORDINALS.split()):
    _SPOKEN[_number].add(_word)
_SPOKEN[0] |= {"no"}
_SPOKEN[1] |= {"once", "a", "an", "single", "opening"}
_SPOKEN[2] |= {"twice", "both", "pair", "couple"}
_SPOKEN[12] |= {"dozen"}
_SPOKEN |= {20: {"twenty"}, 30: {"thirty"}, 40: {"forty"}, 50: {"fifty"}, 100: {"hundred"}}


class Constraint(NamedTuple):
    """One type of constraint.

    `passes(answer, **arguments)` tells whether an answer keeps it. `arguments` names each argument with its kind,
    `optional` those that may be missing. A prompt that states it matches the regular expression `hint`.
    """

    passes: Callable[..., bool]
    arguments: Mapping[str, Kind] = {}
    hint: str = ""
    optional: frozenset[str] = frozenset()


def problem_of(constraint: Constraint, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, or None."""
    for name, value in arguments.items():
        kind = constraint.arguments.get(name)
        if kind is None:
            known = ", ".join(constraint.arguments) or "none"
            return f"takes no argument '{name}'; those it takes: {known}"
        if wanted := _unlike(kind, value):
            return f"argument '{name}' must be {wanted}; it is {value!r}"
    missing = [name for name in constraint.arguments if name not in arguments and name not in constraint.optional]
    return f"lacks the argument '{missing[0]}'" if missing else None


def _unlike(kind: Kind, value: object) -> str | None:
    """What a value of the kind would be, if this is none."""
    if kind == "count":
        return None if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "0 or more"
    if kind == "texts":
        fits = isinstance(value, list) and value and all(isinstance(each, str) and each.strip() for each in value)
        return None if fits else "a list of texts"
    if not isinstance(value, str) or not value.strip():
        return "a text"
    if kind == "relation":
        return None if value in RELATIONS else f"one of {', '.join(RELATIONS)}"
    if kind == "letter":
        return None if len(value.strip()) == 1 else "one letter"
    if kind == "language":
        return None if value in NAMES else f"one of {', '.join(NAMES)}"
    return None


def unstated(constraint: Constraint, arguments: Mapping[str, Any], prompt: str) -> str | None:
    """What of a constraint its prompt does not say, so that nobody could know of it; None where it says all."""
    asked = prompt.casefold()
    if constraint.hint and not re.search(constraint.hint, asked):
        return "the constraint itself"
    for name, value in arguments.items():
        kind = constraint.arguments[name]
        if kind == "count" and not _says_number(asked, value):
            return f"{name} {value}"
        if kind == "language" and NAMES[value].casefold() not in asked:
            return f"{name} {NAMES[value]}"
        texts = value if kind == "texts" else [value] if kind in ("text", "letter") else []
        for text in texts:
            if text.casefold().strip() not in asked:
                return f"{name} {text!r}"
    return None


def _says_number(asked: str, number: int) -> bool:
    words = set(re.findall(r"[a-z]+|\d+", asked))
    return str(number) in words or bool(_SPOKEN.get(number, set()) & words)
