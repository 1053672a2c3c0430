"""A section of the document against its typed class: a misfit is one line with origin, key and near match."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, Union, get_args

from domino_lightning.config.document import Config
from domino_lightning.config.layers import ABSENT, lookup, unknown_key
from domino_lightning.config.nodes import class_of
from domino_lightning.config.types import classes, evaluate_types
from domino_lightning.errors import UserError

CLASS_KEYS = ("class_path", "init_args")


def parse_section(parser: Any, section: str, config: Config) -> Any:
    """The section as the typed, defaulted namespace of `parser`, a jsonargparse parser that raises.

    Raises:
        UserError: one line that names the key, the layer it came from, and the near match or type expected.
    """
    from argparse import ArgumentError

    groups = {dest.rpartition(".")[0] for dest in _dests(parser)}
    for key in [section, *(f"{section}.{group}" for group in sorted(groups - {""}))]:
        value = lookup(config.document, key)
        if value is not ABSENT and not isinstance(value, dict):
            raise UserError(f"{config.where(key)}: key '{key}': expected a mapping of keys, got {value!r}.")
    _refuse_nulls(parser, config.document[section], section, config)
    _refuse_huge(config.document[section], section, config)
    _try_int_before_float(parser)
    try:
        return parser.parse_object(copy.deepcopy(config.document[section]))  # it would write into the lists
    except (ArgumentError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(explain_parse_error(str(error), parser, section, config)) from None


def _try_int_before_float(parser: Any) -> None:
    """Let 8 be 8 where a type says int or float: as 8.0 Lightning would take it for a share, and refuse it.

    jsonargparse takes the first member that fits, and Python keeps one Optional[Union[int, float]], with members in
    the order that any library imported before has written them.
    """
    for action in parser._actions:
        kinds = get_args(getattr(action, "_typehint", None))
        if int in kinds and float in kinds:
            action._typehint = Union[(int, *(kind for kind in kinds if kind is not int))]  # noqa: UP007


def explain_parse_error(text: str, parser: Any, section: str, config: Config) -> str:
    """Turn jsonargparse's indented message into one line with origin, key and near match."""
    path, scope = [section], parser
    for line in (part.strip().removeprefix("- ") for part in text.splitlines()):
        key = ".".join(path)
        if found := re.match(r'Parser key "(.+)":$', line):
            path.append(found[1])
        elif found := re.match(r"Problem with given class_path '(.+)':$", line):
            path.append("init_args")
            scope = _class_parser(found[1], f"{config.where(key)}: key '{key}'")
        elif found := re.match(r"(?:Group '(.+)' does not accept option|Option) '(.+?)'", line):
            known, option = _options(scope, found[1] or ""), found[2]
            if option.partition(".")[0] not in known:
                option = option.partition(".")[0]
            key = ".".join(filter(None, [key, found[1], option]))
            return unknown_key(config.where(key), key, known)
        elif found := re.search(r"arguments? (?:is|are) required: ([\w.]+)", line):
            key = f"{key}.{found[1]}"
            return f"{config.where(key)}: key '{key}' is required and has no value."
    key = ".".join(path[:-1] if path[-1] == "init_args" else path)
    return _explain_value(text, key, config)


def _explain_value(text: str, key: str, config: Config) -> str:
    """The line about a value that does not fit its type, or a class node that is not spelled as one."""
    value = lookup(config.document, key)
    plain = ".".join(part for part in key.split(".") if part != "init_args")
    if value is ABSENT and (found := lookup(config.document, plain)) is not ABSENT:
        key, value = plain, found  # a data class stands where a class node might, without `init_args` around its keys
    where = config.where(key)
    for node in value if isinstance(value, list) else [value]:
        if not isinstance(node, dict):
            continue
        for option in node:
            if option not in CLASS_KEYS:
                return unknown_key(where, f"{key}.{option}", CLASS_KEYS)
        if not isinstance(node.get("class_path"), str):
            return f"{where}: key '{key}.class_path': expected a dotted name, got {node.get('class_path')!r}."
        if not isinstance(node.get("init_args", {}), dict):
            return f"{where}: key '{key}.init_args': expected a mapping of keys, got {node['init_args']!r}."
    kinds = re.findall(r"Expected an? (?:<class '(?:[\w.]+\.)?(\w+)'>|typing\.Literal\[(.+?)\])", text)
    names = [next(filter(None, kind)).replace("NoneType", "null") for kind in kinds]
    if names:
        return f"{where}: key '{key}': expected {' or '.join(names)}, got {_shortened(value)}."
    if found := re.search(r"Expected a dot import path string: (\S+)", text):
        default = lookup(config.layers[0].tree, f"{key}.class_path") if config.layers else ABSENT
        example = f", such as {default}" if isinstance(default, str) else ""
        name = found[1].rstrip(".")
        return f"{where}: key '{key}': '{name}' names no module. Give the dotted name of a class{example}."
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["not accepted"]
    reason = next((line for line in lines if not line.endswith(":")), lines[-1])
    return f"{where}: key '{key}': {reason.split(' Got value: ')[0].rstrip('.')}."


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _class_parser(class_path: str, where: str) -> Any:
    return _parser_of(class_of(class_path, where))


def _parser_of(cls: type) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(evaluate_types(cls), None, fail_untyped=False)
    return parser


def _options(parser: Any, group: str) -> list[str]:
    """The keys that a parser, or one of its groups, accepts."""
    prefix = f"{group}." if group else ""
    return sorted({dest[len(prefix) :].split(".")[0] for dest in _dests(parser) if dest.startswith(prefix)})


def _refuse_nulls(parser: Any, node: Any, key: str, config: Config) -> None:
    """Refuse null, at any depth, where its type has none; jsonargparse checks every other value.

    Raises:
        UserError: the first one.
    """
    for action in parser._actions:
        value, inner = lookup(node, action.dest), f"{key}.{action.dest}"
        if value is None and not _takes_null(action):
            raise UserError(f"{config.where(inner)}: key '{inner}': expected a value, got null.")
        named = list(classes([getattr(action, "_typehint", None)]))
        if named:  # else it is free data, such as dict[str, Any]
            _refuse_nulls_within(named, value, inner, config)


def _refuse_nulls_within(named: Sequence[type], node: Any, key: str, config: Config) -> None:
    """In what is given for an argument whose type names these classes."""
    if isinstance(node, list):
        for place, part in enumerate(node):
            _refuse_nulls_within(named, part, f"{key}.{place}", config)
    if not isinstance(node, dict) or not _holds_null(node):
        return
    if isinstance(path := node.get("class_path"), str):
        found = class_of(path, f"{config.where(key)}: key '{key}'")
        if isinstance(found, type):  # a function that makes one is told nothing of here
            _refuse_nulls(_parser_of(found), node.get("init_args"), f"{key}.init_args", config)
    elif taken := next(filter(is_dataclass, named), None):
        _refuse_nulls(_parser_of(taken), node, key, config)
    else:
        for name, part in node.items():
            _refuse_nulls_within(named, part, f"{key}.{name}", config)


def _holds_null(node: Any) -> bool:
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return any(part is None or _holds_null(part) for part in parts)


def _refuse_huge(node: Any, key: str, config: Config) -> None:
    """Refuse whole numbers that no float holds: arithmetic with them ends wherever it is first tried.

    Raises:
        UserError: the first one.
    """
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in parts:
        _refuse_huge(value, f"{key}.{name}", config)
    if type(node) is int and abs(node) > sys.float_info.max:
        raise UserError(f"{config.where(key)}: key '{key}': {_shortened(node)} is too large: give fewer digits.")


def _takes_null(action: Any) -> bool:
    """Whether null fits an argument's type, which jsonargparse itself does not check."""
    hint = getattr(action, "_typehint", None) or action.type
    return hint is None or hint is Any or type(None) in get_args(hint)


def _dests(parser: Any) -> set[str]:
    """Dotted keys of a parser, without the options that only print help."""
    dests = {action.dest for action in parser._actions} - {"help", "config"}
    return {dest for dest in dests if not dest.endswith(".help")}
