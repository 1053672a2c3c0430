"""What configurations are composed from: the defaults, experiment files, overrides, each with its lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError

Document = dict[str, Any]
ABSENT = object()
_REPEATED = re.compile(r"found duplicate key (.*)", re.DOTALL)


@dataclass(frozen=True)
class Layer:
    """One source of keys: the defaults, an experiment file or one override."""

    origin: str
    tree: Document
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """'experiments/x.yaml, line 3', or the override itself."""
        return f"{self.origin}, line {self.lines[key]}" if key in self.lines else self.origin


def defaults_path() -> Path:
    """The YAML file with every key of an experiment and its default."""
    return Path(str(files("domino_lightning") / "defaults.yaml"))


@cache
def default_layer() -> Layer:
    """The package defaults."""
    return read_layer(defaults_path(), "the package defaults")


def read_layer(
    path: str | Path, origin: str, wanted: str = "Name an experiment YAML, such as one in experiments/."
) -> Layer:
    """Read one YAML file as a layer; `wanted` ends the error about one that is not there.

    Raises:
        UserError: the file is missing, is not YAML, or does not hold a mapping.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {wanted}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory. {wanted}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        if repeated := _REPEATED.fullmatch(error.problem or ""):
            raise UserError(f"{path}{line}: key '{repeated[1]}' is there twice.") from None
        reason = "; ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{path}: not valid YAML{line}: {reason}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}.") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds a {type(tree).__name__}, where a mapping of sections is expected.")
    return Layer(origin, {str(key): value for key, value in tree.items()}, _Lines(text))


def override_layer(text: str) -> Layer:
    """One `dotted.key=value` as a layer.

    Raises:
        UserError: it is no such thing.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, _ = text.partition("=")
    if not equals or not key.strip() or key.startswith("-"):
        raise UserError(f"override '{text}': expected dotted.key=value, such as tune.trainer.max_steps=200.")
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist([text]), resolve=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"override '{text}': {one_line(error)}.") from None
    except Exception as error:  # OmegaConf lets the YAML scanner's own errors through
        reason = getattr(error, "problem", None) or one_line(error)  # the scanner's other words are about our text
        raise UserError(f"override '{text}': the value is not valid YAML ({reason}).") from None
    parts = tree.items() if isinstance(tree, dict) else ()
    return Layer(f"override '{text}'", {str(key): value for key, value in parts})


class _Lines(Mapping[str, int]):
    """The line of every dotted key of a YAML text, which is read for them when one is asked for."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def found(self) -> dict[str, int]:
        import yaml

        return dict(_line_numbers(yaml.compose(self.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))

    def __getitem__(self, key: str) -> int:
        return self.found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def _line_numbers(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _line_numbers(value, f"{prefix}{key.value}.")


def lookup(tree: Any, key: str) -> Any:
    """The value under a dotted key of nested mappings, or `ABSENT`."""
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return ABSENT
        tree = tree[part]
    return tree


def one_line(error: BaseException) -> str:
    """The first two lines of an error's message as one, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]).rstrip(".")


def unknown_key(where: str, key: str, known: Sequence[str]) -> str:
    """The error line about a key that is not among the `known` ones beside it."""
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1, cutoff=0.5)
    listed = f"Known here: {', '.join(sorted(known))}." if known else "No keys are known here."
    hint = f"Did you mean '{near[0]}'?" if near else listed
    return f"{where}: unknown key '{key}'. {hint}"
