"""--smoke: any experiment in seconds, on a tiny random model, with every stage running for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config, Layer
from domino_lightning.models.tiny import save_tiny_backbone
from domino_lightning.stages import STAGES, stage_class


def smoke_layer(config: Config, folder: Path) -> Layer:
    """Overrides that make an experiment small; its classes, losses and filters stay as they are.

    The tiny model has a token a byte, so that it needs many positions.
    """
    backbone = str(save_tiny_backbone(folder / "tiny-model", max_position_embeddings=1 << 17).resolve())
    tree: dict[str, Any] = {"root": str(folder), "backbone": backbone, "tracking": {"wandb": "disabled"}}
    sections = {name: stage_class(name).small(config, backbone) for name in STAGES}
    return Layer("--smoke", tree | {name: small for name, small in sections.items() if small})
