"""One literal document from defaults, a file and overrides; every error names where its key came from."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domino_lightning.config.layers import (
    ABSENT,
    Document,
    Layer,
    default_layer,
    lookup,
    one_line,
    override_layer,
    read_layer,
    unknown_key,
)
from domino_lightning.errors import UserError
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.project import enter

_NO_PROJECT = frozenset("/\\#?%:")  # W&B's own rule
TRACKING_CHOICES = {"wandb": ("online", "offline", "disabled"), "system": ("auto", "always", "never")}


@dataclass(frozen=True)
class Config:
    """A resolved document and the layers it was composed from."""

    document: Document
    layers: tuple[Layer, ...]

    def where(self, key: str) -> str:
        """The last layer that set the dotted key, or what it is interpolated from, or its nearest parent."""
        tail, hops = "", 0
        while key:
            layers = self.layers[self._since(key) :]
            layer = next((layer for layer in reversed(layers) if lookup(layer.tree, key) is not ABSENT), None)
            value = lookup(layer.tree, key) if layer else None
            link = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
            if layer and (link is None or hops > len(self.layers) + 8):  # `seed: ${seed}` points to itself
                return layer.where(key)
            if link:
                key, tail, hops = link[1] + tail, "", hops + 1
                continue
            key, _, last = key.rpartition(".")
            tail = f".{last}{tail}"
        return self.layers[-1].origin if self.layers else "the configuration"

    def _since(self, key: str) -> int:
        """The number of the layer that named the class whose argument the key is; what earlier ones gave is dropped."""
        node, found, _ = key.rpartition(".init_args")
        since, named = 0, None
        for number, layer in enumerate(self.layers if found else ()):
            value = lookup(layer.tree, node)
            path = value.get("class_path") if isinstance(value, dict) else value
            if isinstance(path, str) and "${" not in path and path != named:
                since, named = number, path
        return since


_MISSING = "\0???"  # what `???` becomes: OmegaConf's own marker does not replace an earlier layer's value


def load_config(path: str | Path, overrides: Sequence[str] = (), extra: Sequence[Layer] = ()) -> Config:
    """Compose defaults, an experiment file, overrides (`dotted.key=value`) and `extra` layers, then resolve.

    A layer that changes a node's `class_path` drops the `init_args` that belonged to the old class.
    Interpolations resolve last, so they see overrides. The file's folder becomes the project (`utils.project`), in
    which modules and data files are looked for.

    Raises:
        UserError: a missing or broken file, an unknown key, a malformed override, a bad interpolation,
            a value of the wrong type outside the sections.
    """
    enter([Path(path).parent])
    layers = [default_layer(), read_layer(path, str(path)), *map(override_layer, overrides), *extra]
    if "experiment" in layers[1].tree and "axes" in layers[1].tree:
        raise UserError(f"{path}: is a sweep, not an experiment. `domino sweep {path}` checks and runs it.")
    return checked(compose(layers))


@dataclass(frozen=True)
class Merged:
    """Layers merged in order, with their interpolations; what many configurations share is merged once for all.

    Raises:
        UserError: a layer with a top-level key that the first one does not have, or one that does not fit.
    """

    layers: tuple[Layer, ...]
    tree: Any

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Merged:
        """The layers in order; the first one defines the top-level keys."""
        from omegaconf import OmegaConf

        return cls((), OmegaConf.create({}))._with(layers)

    def under(self, layers: Sequence[Layer]) -> Merged:
        """This with further layers over it."""
        return replace(self, tree=copy.deepcopy(self.tree))._with(layers)

    def _with(self, layers: Sequence[Layer]) -> Merged:
        """The same as `under`, in place of this."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        merged, known = self.tree, [*self.layers, *layers][0].tree
        for layer in layers:
            for key in layer.tree:
                if key not in known:
                    raise UserError(unknown_key(layer.where(key), key, list(known)))
            tree = _class_nodes(merged, _marked(layer.tree))
            _drop_stale_init_args(merged, tree)
            try:
                merged = OmegaConf.unsafe_merge(merged, tree)  # a copy a layer took most of the time
            except OmegaConfBaseException as error:
                raise UserError(f"{layer.origin}: {one_line(error)}.") from None
            except (TypeError, ValueError) as error:
                reason = f"{one_line(error)}. A list is replaced as a whole, so give all of it"
                raise UserError(f"{layer.origin}: {reason}.") from None
        return Merged((*self.layers, *layers), merged)

    def config(self, resolve: bool = True) -> Config:
        """The literal document.

        Raises:
            UserError: an interpolation that leads nowhere, or a key without a value.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        unresolved = Config({}, self.layers)
        try:
            document = OmegaConf.to_container(self.tree, resolve=resolve)
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", None) or ""
            raise UserError(f"{unresolved.where(key)}: key '{key}': {one_line(error)}.") from None
        if not isinstance(document, dict):
            raise UserError("the configuration is not a mapping of sections.")
        config = Config({str(key): value for key, value in document.items()}, self.layers)
        for key in _missing_keys(config.document):
            raise UserError(f"{config.where(key)}: key '{key}' has no value (???). Give one with {key}=...")
        return config


def compose(layers: Sequence[Layer], resolve: bool = True) -> Config:
    """Merge the layers in order and resolve interpolations; the first layer defines the top-level keys.

    Raises:
        UserError: as `Merged` and its `config`.
    """
    return Merged.of(layers).config(resolve)


def write_document(path: Path, document: Document) -> None:
    """Write a document as YAML, atomically."""
    import yaml

    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _drop_stale_init_args(base: Any, over: Any) -> None:
    """Before a merge: remove `init_args` of base nodes whose class the layer replaces by another.

    A node that named no class, and now does, loses all its keys: they were arguments of the class it stood for.
    """
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
                for stale in ["init_args"] if "class_path" in node else list(node):
                    node.pop(stale, None)
            _drop_stale_init_args(node, value)


def _marked(tree: Any) -> Any:
    """The tree with `???` replaced by a marker that takes part in a merge."""
    if isinstance(tree, dict):
        return {key: _marked(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_marked(value) for value in tree]
    return _MISSING if tree == "???" else tree


def _class_nodes(base: Any, over: Any) -> Any:
    """`over` with plain class names spelled as `class_path`, where `base` has a class or a list of them."""
    from omegaconf import DictConfig, ListConfig

    if isinstance(base, DictConfig) and not base._is_interpolation() and not base._is_none():
        if isinstance(over, dict):
            return {key: _class_nodes(base._get_node(key), value) for key, value in over.items()}
        if "class_path" in base and isinstance(over, str) and "${" not in over and over != _MISSING:
            return {"class_path": over}
    if isinstance(base, ListConfig) and isinstance(over, list) and not base._is_none() and len(base):
        return [_class_nodes(base._get_node(0), value) for value in over]
    return over


def checked(config: Config) -> Config:
    """The configuration, if keys outside the sections have the types of the defaults and `tracking` known keys."""
    for key, default in config.layers[0].tree.items():
        value = config.document[key]
        if isinstance(default, (str, int)) and (type(value) is not type(default) or value == ""):
            kind = "an integer" if isinstance(default, int) else "text"
            raise UserError(f"{config.where(key)}: key '{key}': expected {kind}, got {value!r}.")
    known, tracking = config.layers[0].tree["tracking"], config.document["tracking"]
    if not isinstance(tracking, dict):
        where = config.where("tracking")
        raise UserError(f"{where}: key 'tracking': expected a mapping of keys, got {tracking!r}.")
    for name, value in tracking.items():
        key = f"tracking.{name}"
        if name not in known:
            raise UserError(unknown_key(config.where(key), key, list(known)))
        choices = TRACKING_CHOICES.get(name)
        if not isinstance(value, str) or (choices and value not in choices):
            kind = f"one of {', '.join(choices)}" if choices else "text"
            raise UserError(f"{config.where(key)}: key '{key}': expected {kind}, got {value!r}.")
    project = tracking.get("project", "")  # what W&B would refuse once a stage runs, and then leave untracked
    if len(project) > 128 or not _NO_PROJECT.isdisjoint(project):
        where = config.where("tracking.project")
        what = f"expected at most 128 characters, none of them in {''.join(sorted(_NO_PROJECT))}"
        raise UserError(f"{where}: key 'tracking.project': {what}, got {project!r}.")
    return config


def _missing_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if value == _MISSING:
            yield f"{prefix}{key}"
        else:
            yield from _missing_keys(value, f"{prefix}{key}.")
