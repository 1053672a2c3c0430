"""--smoke: any experiment in seconds, on a tiny random model, with every stage running for real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.layers import Layer
from domino_lightning.models.tiny import save_tiny_backbone
from domino_lightning.stages import STAGES, stage_class

TRAINED = ("tune", "finetune", "evaluate")  # sections whose nodes stay, but for single keys


def smoke_layer(config: Config, folder: Path) -> Layer:
    """Overrides that make an experiment small; its classes, losses and filters stay as they are.

    The tiny model has a token a byte, so that it needs many positions.
    """
    backbone = str(save_tiny_backbone(folder / "tiny-model", max_position_embeddings=1 << 17).resolve())
    tree: dict[str, Any] = {"root": str(folder), "backbone": backbone, "tracking": {"wandb": "disabled"}}
    sections = {name: stage_class(name).small(config, backbone) for name in STAGES}
    tree = _on_any_machine(tree | {name: small for name, small in sections.items() if small})
    for keys in _quantized({key: config.document.get(key) for key in ("backbone_dtype", *TRAINED)}):
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = "auto"
    return Layer("--smoke", tree)


def _quantized(node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys under which weights are asked for in four bits, which takes a GPU."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from ((key, *rest) for rest in _quantized(value))
        elif value == "nf4":
            yield (key,)


def _on_any_machine(node: Any) -> Any:
    """The same in nodes that stages have given whole."""
    if isinstance(node, dict):
        return {key: _on_any_machine(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_on_any_machine(value) for value in node]
    return "auto" if node == "nf4" else node
