"""In which dtype weights lie and products are computed, and what a model's shape comes to in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from domino_lightning.planning.flops import ModelShape, model_shape
from domino_lightning.planning.step_memory import NF4_BYTES

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@cache
def shape_of(spec: str) -> ModelShape:
    """The sizes of a backbone, read once."""
    return model_shape(spec)


def resolved(dtype: str, gpu: bool) -> str:
    """The dtype of weights that `auto` comes to.

    Args:
        dtype: as configured.
        gpu: plan for a GPU with bfloat16, whatever this machine has.
    """
    import torch

    from domino_lightning.models.backbone import weights_dtype

    if dtype != "auto":
        return dtype
    if gpu:
        return "bfloat16"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return str(weights_dtype(dtype, device)).removeprefix("torch.")


def frozen_dtype(model: Mapping[str, Any], trainer: Mapping[str, Any], gpu: bool) -> str:
    """Of a backbone in training; a coder without an adapter trains all weights, in float32."""
    if "lora" in model and model["lora"] is None:
        return "float32"
    dtype = resolved(model["backbone_dtype"], gpu)
    return "bfloat16" if dtype == "float32" and str(trainer.get("precision")) == "bf16-true" else dtype


def computed_dtype(dtype: str, trainer: Mapping[str, Any] | None = None) -> str:
    """Of products with weights of a dtype, under the trainer's precision."""
    mixed = trainer is not None and "16" in str(trainer.get("precision"))
    return "bfloat16" if mixed or dtype == "nf4" else dtype


def model_bytes(shape: ModelShape, dtype: str) -> float:
    """Of a model's weights that are at rest."""
    if dtype == "nf4":
        return shape.linear * NF4_BYTES + (shape.parameters - shape.linear) * BYTES["bfloat16"]
    return shape.parameters * BYTES[dtype]


def mixed_bytes(shape: ModelShape, dtype: str, trainer: Mapping[str, Any], passes: int) -> float:
    """What mixed precision adds over weights in float32: every pass keeps a cast copy of them for its backward."""
    mixed = str(trainer.get("precision")).endswith("-mixed") and dtype == "float32"
    return 2.0 * (shape.parameters + passes * shape.linear) if mixed else 0.0
