"""Stops a run that has run away, before a checkpoint of it replaces the last good one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from domino_lightning.errors import StageFailed
from domino_lightning.modules.optim import check_finite

WINDOW = 8  # steps averaged, so that one hard batch stops nothing
TOKENS = "tokens"


class StopOnDivergence(Callback):
    """Stops when the loss has left the range that NLLs can explain, or a gradient is no number.

    A uniform guess over V tokens costs log V nats/token, about 11 for V = 50,000. So a loss whose average over
    the last eight steps is more than some 10 nats/token above its first such average does far worse than where it
    began; and one below −10 is an unbounded objective that only drives other samples' NLL up. A loss in nats per text
    is told by its term `tokens`, the mean length of a text, by which all its terms are divided here.

    Args:
        stage: section that the remedy names.
        nats: the limit of both.
    """

    def __init__(self, stage: str, nats: float) -> None:
        self.stage, self.nats = stage, nats
        self.start: dict[str, float] = {}
        self.recent: deque[dict[str, float]] = deque(maxlen=WINDOW)

    def state_dict(self) -> dict[str, Any]:
        """The first averages and the last terms."""
        return {"start": self.start, "recent": list(self.recent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        self.start, self.recent = state_dict["start"], deque(state_dict["recent"], maxlen=WINDOW)

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        """A gradient that is no number must not reach the weights: the next checkpoint would hold them.

        Raises:
            StageFailed: naming the parameter, the step and the remedy.
        """
        if trainer.precision == "16-mixed":  # the scaler skips such steps by itself
            return
        check_finite(self.stage, trainer.global_step + 1, gradient_sums(module))

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Look at the averages of the last steps.

        Raises:
            StageFailed: the loss has run away; names the term that moved most, the step and the remedy.
        """
        prefix = f"{self.stage}/train/"
        metrics = trainer.callback_metrics
        self.observe(
            {key.removeprefix(prefix): value.item() for key, value in metrics.items() if key.startswith(prefix)}
        )
        self.check(trainer.global_step)

    def observe(self, terms: Mapping[str, float]) -> None:
        """Take note of the terms of a step."""
        self.recent.append(dict(terms))
        if len(self.recent) == WINDOW and not self.start:
            self.start = self._averages()

    def check(self, step: int) -> None:
        """Raise where `on_train_batch_end` says so."""
        if not self.start:
            return
        now = self._averages()
        loss, start = now["loss"], self.start["loss"]
        if -self.nats <= loss <= start + self.nats:
            return
        up = loss > start
        moved = {name: now[name] - self.start[name] for name in now.keys() & self.start.keys() if name != "loss"}
        name = (max if up else min)(moved, key=moved.__getitem__) if moved else "loss"
        remedy = (
            f"Lower {self.stage}.model.learning_rate or sample_learning_rate, or raise warmup_steps"
            if up
            else f"Lower {self.stage}.model.loss's weight, or use a loss that is bounded below, such as InfoNCE"
        )
        raise StageFailed(
            f"{self.stage}: the loss has diverged: over the last {WINDOW} steps to step {step} it averages {loss:.2f} "
            f"nats/token, and began at {start:.2f}. Term '{name}' moved most, from {self.start[name]:.2f} to "
            f"{now[name]:.2f}. {remedy}. The limit is {self.stage}.runtime.divergence_nats ({self.nats:g}); the last "
            "good checkpoint stays in the stage's directory."
        )

    def _averages(self) -> dict[str, float]:
        names = set.intersection(*(set(terms) for terms in self.recent))
        means = {name: sum(terms[name] for terms in self.recent) / len(self.recent) for name in names}
        tokens = means.pop(TOKENS, 1.0)
        return {name: mean / tokens for name, mean in means.items()}


def gradient_sums(module: LightningModule) -> dict[str, Tensor]:
    """The sum of the absolute gradient of every parameter that has one, under the parameter's name."""
    sums = {}
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            values = gradient.coalesce().values() if gradient.is_sparse else gradient
            sums[f"gradient of {name}"] = values.abs().sum(dtype=torch.float32)
    return sums
