"""domino help."""

from __future__ import annotations

import argparse
import difflib
from importlib import import_module
from textwrap import fill, indent
from typing import Any

from domino_lightning.cli.console import make_console
from domino_lightning.config.nodes import class_of
from domino_lightning.config.options import Option, class_parser, description, named_instead, options_of
from domino_lightning.errors import UserError
from domino_lightning.stages import STAGES, stage_class

PACKAGE = "domino_lightning"
# Packages whose classes are named in experiments and sweeps.
ROOMS = ("losses", "nn", "modules", "domains", "synthesis", "curation", "sweep")


def show(arguments: argparse.Namespace) -> int:
    """Print what a class is for and its options, or the keys of a stage's section."""
    name: str = arguments.name
    if name in STAGES:
        found: Any = stage_class(name)
        title, options = f"section '{name}'", options_of(found.parser({}))
    else:
        found = class_of(name, "help") if "." in name else _by_its_name(name)
        if not isinstance(found, type):
            raise UserError(f"help: '{name}' is no class. Name one as class_path has it, or a stage.")
        title, options = f"class_path: {_public(found)}", options_of(class_parser(found))
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    say(f"{title}\n\n{description(found)}\n")
    if others := named_instead(found):
        listed = "\n".join(sorted(map(_public, others)))
        say(f"It is abstract. Name one of these, or your own:\n{indent(listed, '  ')}")
        return 0
    say("keys:" if name in STAGES else "init_args:" if options else "It takes no init_args.")
    for option in options:
        say(_entry(option))
    return 0


def _entry(option: Option) -> str:
    default = "required" if option.default is None else f"default {option.default}"
    head = f"  {option.name}: {option.kind}, {default}"
    return f"{head}\n{indent(fill(option.meaning, 108), ' ' * 6)}" if option.meaning else head


def _by_its_name(name: str) -> Any:
    """The class of the package with this name.

    Raises:
        UserError: there is none.
    """
    names: list[str] = []
    for room in ROOMS:
        module = import_module(f"{PACKAGE}.{room}")
        if name in module.__all__:
            return getattr(module, name)
        names += module.__all__
    near = difflib.get_close_matches(name, [*names, *STAGES], n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else "Name one as class_path has it, or a stage."
    raise UserError(f"help: the package has no class '{name}'. {hint}")


def _public(cls: type) -> str:
    """The class's dotted name, by the package that exports it where one does."""
    room = ".".join(cls.__module__.split(".")[:2])
    if cls.__module__.startswith(f"{PACKAGE}.") and getattr(import_module(room), cls.__name__, None) is cls:
        return f"{room}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"
