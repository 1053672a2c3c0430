"""Layers compiled by torch while a stage trains."""

from __future__ import annotations

import logging
import os
import shutil
from importlib.util import find_spec
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from domino_lightning.errors import UserError
from domino_lightning.models.backbone import decoder_layers

log = logging.getLogger(__name__)


class CompiledLayers(Callback):
    """The decoder layers of the module's `backbone` by `torch.compile`: everything but their attention.

    One graph serves all layers, with the sizes of batches left open, so that it is made once, in the first steps.
    Numbers are those of the layers as they are, but for rounding.

    Args:
        key: of the document that asks for it.
        backend: torch.compile's.
    """

    def __init__(self, key: str, backend: str = "inductor") -> None:
        self.key, self.backend = key, backend

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Compile at the first forward pass.

        Raises:
            UserError: torch finds no compiler for the device.
        """
        check_compiler(self.key, module.device)
        if trainer.is_global_zero:
            log.warning("%s: layers are compiled as they are met; first steps and looks take minutes.", self.key)
        backbone: Any = module.backbone
        for layer in decoder_layers(backbone):
            layer.compile(dynamic=True, backend=self.backend)


def check_compiler(key: str, device: torch.device) -> None:
    """Refuse to compile where it would fail in the first step.

    Args:
        key: of the document that asks for it.
        device: where the layers run.

    Raises:
        UserError: there is no C++ compiler for the CPU, or no Triton for a GPU.
    """
    if device.type == "cpu":
        if not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name):
            raise UserError(
                f"{key}: torch.compile needs a C++ compiler on the CPU, and there is none. Install g++, or name yours "
                "in $CXX, or leave the setting out."
            )
    elif find_spec("triton") is None:
        raise UserError(f"{key}: torch.compile needs Triton on a GPU, which is not installed (`pip install triton`).")
