"""One literal document from defaults, a file and overrides; every error names where its key came from."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError

Document = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """One source of keys: the defaults, an experiment file or one override."""

    origin: str
    tree: Document
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """'experiments/x.yaml, line 3', or the override itself."""
        return f"{self.origin}, line {self.lines[key]}" if key in self.lines else self.origin


@dataclass(frozen=True)
class Config:
    """A resolved document and the layers it was composed from."""

    document: Document
    layers: tuple[Layer, ...]

    def where(self, key: str) -> str:
        """The last layer that set the dotted key, or else the nearest parent of it that was set."""
        while key:
            for layer in reversed(self.layers):
                if _lookup(layer.tree, key) is not _ABSENT:
                    return layer.where(key)
            key = key.rpartition(".")[0]
        return self.layers[-1].origin if self.layers else "the configuration"


_ABSENT = object()


def defaults_path() -> Path:
    """The YAML file with every key of an experiment and its default."""
    return Path(str(files("domino_lightning") / "defaults.yaml"))


def load_config(path: str | Path, overrides: Sequence[str] = (), extra: Sequence[Layer] = ()) -> Config:
    """Compose defaults, an experiment file, overrides (`dotted.key=value`) and `extra` layers, then resolve.

    A layer that changes a node's `class_path` drops the `init_args` that belonged to the old class.
    Interpolations resolve last, so they see overrides.

    Raises:
        UserError: a missing or broken file, an unknown key, a malformed override, a bad interpolation.
    """
    layers = [read_layer(defaults_path(), "the package defaults"), read_layer(path, str(path))]
    layers += [_override_layer(text) for text in overrides]
    return compose([*layers, *extra])


def read_layer(path: str | Path, origin: str) -> Layer:
    """Read one YAML file as a layer.

    Raises:
        UserError: the file is missing, is not YAML, or does not hold a mapping.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Name an experiment YAML, for example one of experiments/.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; name an experiment YAML in it.") from None
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: not valid YAML: {_one_line(error)}.") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds a {type(tree).__name__}, where a mapping of sections is expected.")
    return Layer(origin, {str(key): value for key, value in tree.items()}, dict(_line_numbers(node)))


def _override_layer(text: str) -> Layer:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, _ = text.partition("=")
    if not equals or not key.strip() or key.startswith("-"):
        raise UserError(f"override '{text}': expected dotted.key=value, for example tune.trainer.max_steps=200.")
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist([text]), resolve=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"override '{text}': {_one_line(error)}.") from None
    except Exception as error:  # OmegaConf lets the YAML scanner's own errors through
        raise UserError(f"override '{text}': the value is not valid YAML ({_one_line(error)}).") from None
    return Layer(f"override '{text}'", tree if isinstance(tree, dict) else {})


def compose(layers: Sequence[Layer]) -> Config:
    """Merge the layers in order and resolve interpolations; the first layer defines the top-level keys."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    merged = OmegaConf.create({})
    for layer in layers:
        for key in layer.tree:
            if key not in layers[0].tree:
                raise UserError(_unknown_key(layer.where(key), key, key, list(layers[0].tree)))
        _drop_stale_init_args(merged, layer.tree)
        try:
            merged = OmegaConf.merge(merged, layer.tree)
        except OmegaConfBaseException as error:
            raise UserError(f"{layer.origin}: {_one_line(error)}.") from None
    unresolved = Config({}, tuple(layers))
    try:
        document = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or ""
        raise UserError(f"{unresolved.where(key)}: key '{key}': {_one_line(error)}.") from None
    if not isinstance(document, dict):
        raise UserError("the configuration is not a mapping of sections.")
    config = Config({str(key): value for key, value in document.items()}, tuple(layers))
    for key in _missing_keys(config.document):
        raise UserError(f"{config.where(key)}: key '{key}' has no value (???). Give one, for example {key}=...")
    return config


def _drop_stale_init_args(base: Any, over: Any) -> None:
    """Before a merge: remove `init_args` of base nodes whose class the layer replaces by another."""
    from omegaconf import DictConfig, OmegaConf

    if not isinstance(base, DictConfig) or not isinstance(over, dict):
        return
    for key, value in over.items():
        if key not in base or OmegaConf.is_missing(base, key):
            continue
        # Look without resolving: an interpolated node belongs to the key it points to.
        node = base._get_node(key)
        if isinstance(node, DictConfig) and not node._is_interpolation() and not node._is_none():
            new_class = value.get("class_path") if isinstance(value, dict) else None
            if new_class is not None and new_class != node.get("class_path"):
                node.pop("init_args", None)
            _drop_stale_init_args(node, value)


def _missing_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if value == "???":
            yield f"{prefix}{key}"
        else:
            yield from _missing_keys(value, f"{prefix}{key}.")


def _line_numbers(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _line_numbers(value, f"{prefix}{key.value}.")


def _lookup(tree: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return _ABSENT
        tree = tree[part]
    return tree


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]).rstrip(".")


def _unknown_key(where: str, key: str, option: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(sorted(known))}."
    return f"{where}: unknown key '{key}'. {hint}"


def class_of(path: str, where: str = "class_path") -> Any:
    """Import a dotted class path.

    Raises:
        UserError: the module or the class does not exist.
    """
    import importlib

    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{where}: class_path '{path}' cannot be imported ({_one_line(error)}). "
            "A module beside your experiment is found with `python -m domino_lightning`."
        ) from None


def parse_section(parser: Any, section: str, config: Config) -> Any:
    """The section as the typed, defaulted namespace of `parser`, a jsonargparse parser that raises.

    Raises:
        UserError: one line that names the key, the layer it came from and the near match or the type expected.
    """
    from argparse import ArgumentError

    try:
        return parser.parse_object(copy.deepcopy(config.document[section]))  # it would write into the lists
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise UserError(explain_parse_error(str(error), parser, section, config)) from None


def explain_parse_error(text: str, parser: Any, section: str, config: Config) -> str:
    """Turn jsonargparse's indented message into one line with origin, key and near match."""
    path, scope = [section], parser
    for line in (part.strip() for part in text.splitlines()):
        if found := re.match(r'Parser key "(.+)":$', line):
            path.append(found[1])
        elif found := re.match(r"Problem with given class_path '(.+)':$", line):
            path.append("init_args")
            scope = _class_parser(found[1])
        elif found := re.match(r"Option '(.+)' is not accepted", line):
            option = found[1]
            key = ".".join([*path, option])
            return _unknown_key(config.where(key), key, option, _options(scope, option))
        elif found := re.search(r"arguments? (?:is|are) required: (.+)", line):
            key = ".".join([*path, found[1]])
            return f"{config.where('.'.join(path))}: key '{key}' is required and has no value."
    reason = text.strip().splitlines()[-1].strip().rstrip(".") if text.strip() else "not accepted"
    key = ".".join(path[:-1] if path[-1] == "init_args" else path)
    return f"{config.where(key)}: key '{key}': {reason}."


def _class_parser(class_path: str) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(class_of(class_path), None, fail_untyped=False)
    return parser


def _options(parser: Any, option: str) -> list[str]:
    """The keys that stand beside `option` in a parser, as dotted paths of the same depth."""
    prefix = option.rpartition(".")[0]
    names = set()
    for action in parser._actions:
        dest = action.dest
        if dest in {"help", "config"} or (prefix and not dest.startswith(prefix + ".")):
            continue
        rest = dest[len(prefix) + 1 :] if prefix else dest
        names.add(f"{prefix}.{rest.split('.')[0]}" if prefix else rest.split(".")[0])
    return sorted(names)
