"""The options of a class that an experiment names by `class_path`, from its constructor and its docstring."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, get_args

from domino_lightning.config.types import evaluate_types

_ABSENT = "==SUPPRESS=="  # what argparse's parsers have in place of a default or a help that is not to be shown


class Option(NamedTuple):
    """An argument of a constructor: a key of `init_args`.

    Attributes:
        kind: its type, as it is written.
        default: as it is written in YAML; None: it has none and must be given.
        meaning: what the docstring says about it, in one line.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


def options_of(parser: Any) -> list[Option]:
    """The options of a jsonargparse parser, in order, those of a group by dotted names."""
    found = []
    for action in parser._actions:
        name, hint = action.dest, getattr(action, "_typehint", None) or action.type
        if name in {"help", "config"} or name.endswith(".help") or (hint is None and action.help == _ABSENT):
            continue
        if type(action).__name__ == "_ActionConfigLoad":  # a whole group, whose keys come by themselves
            continue
        default = None if action.required else _written(action.default)
        meaning = " ".join(str(action.help or "").split())
        found.append(Option(name, type_name(hint), default, "" if meaning == _ABSENT else meaning))
    return found


def class_parser(cls: type) -> Any:
    """A jsonargparse parser of the arguments of a class."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(evaluate_types(cls), None, fail_untyped=False)
    return parser


def description(cls: type) -> str:
    """What a class's docstring says before its arguments."""
    text = inspect.getdoc(cls) or ""
    return text.partition("\nArgs:\n")[0].strip()


def named_instead(cls: type) -> list[type]:
    """The loaded classes that can stand where an abstract class is asked for; nothing for one that is not abstract."""
    if not inspect.isabstract(cls):
        return []
    found: list[type] = [cls]
    for each in found:  # which grows
        below: list[type] = each.__subclasses__()
        found += [new for new in below if new not in found]
    return [each for each in found if not inspect.isabstract(each)]


def type_name(hint: Any) -> str:
    """A type as it is written: `float | Schedule | null`, `Literal['none', 'random']`."""
    if hint is None or hint is inspect.Parameter.empty:
        return "any"
    if isinstance(hint, type) and not get_args(hint):
        return "null" if hint is type(None) else hint.__name__
    name = getattr(hint, "__name__", "")
    if name in {"Union", "Optional"} or type(hint).__name__ == "UnionType":
        return " | ".join(map(type_name, get_args(hint)))
    if name == "Literal" or not get_args(hint):
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return f"{name}[{', '.join(map(type_name, get_args(hint)))}]"


def _written(value: Any) -> str:
    """A default as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = list(value)
    return "''" if value == "" else str(value)
