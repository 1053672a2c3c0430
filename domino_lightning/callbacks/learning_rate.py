"""The learning rate of every logged step, beside the loss of that step."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LearningRate(Callback):
    """Logs `<stage>/train/learning_rate`, of the optimizer's first group, as the step uses it.

    Args:
        stage: part of the key.
    """

    def __init__(self, stage: str) -> None:
        self.key = f"{stage}/train/learning_rate"

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Before the schedule moves on."""
        if trainer.optimizers:
            module.log(self.key, trainer.optimizers[0].param_groups[0]["lr"])
