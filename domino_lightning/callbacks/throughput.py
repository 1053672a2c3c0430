"""How fast tuning runs, beside the rate of matrix products on the same machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule, Trainer

from domino_lightning.callbacks.health import Periodic, log_metrics
from domino_lightning.data.padded import TextBatch

if TYPE_CHECKING:
    from domino_lightning.modules.domain_learner import DomainLearner


class Speed(Periodic):
    """`tokens_per_s`, scored tokens of the batches' texts a second; `share_of_peak` of the measured matmul rate.

    The work counted is what the module's `fed_tokens` says: 2·P FLOPs a token forward and 2·P backward (no weight of
    the backbone gets a gradient), with P its weights without embeddings, and the LM head on scored tokens. Attention
    is left out, so the share is a lower bound. Time in validation and in other callbacks does not count.
    """

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Measure the peak."""
        self.seconds, self.tokens, self.flops = 0.0, 0, 0.0
        if self.every and trainer.is_global_zero:
            backbone: Any = module.backbone
            head = backbone.get_output_embeddings().weight
            self.head = head.numel()
            total = sum(p.numel() for p in backbone.parameters())
            embeddings = {id(p): p.numel() for p in (backbone.get_input_embeddings().weight, head)}
            self.body = total - sum(embeddings.values())
            self.peak = matmul_peak(module.device, head.dtype)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Add the step, and log on cadence."""
        if self.every and trainer.is_global_zero:
            _synchronize(module.device)
            self.seconds += time.perf_counter() - self.started
            batch: TextBatch = args[1]
            self.tokens += int(batch.lengths[batch.valid].sum())
            self.flops += self._step_flops(module, batch)
        super().on_train_batch_end(trainer, module, *args)

    def observe(self, trainer: Trainer, module: DomainLearner, step: int) -> None:
        """Log the rates since the last look."""
        if self.seconds:
            metrics = {
                "tune/speed/tokens_per_s": self.tokens / self.seconds,
                "tune/speed/share_of_peak": self.flops / self.seconds / self.peak,
            }
            log_metrics(trainer, metrics)
        self.seconds, self.tokens, self.flops = 0.0, 0, 0.0

    def _step_flops(self, module: Any, batch: TextBatch) -> float:
        prefix, scored = module.fed_tokens(int(batch.valid.sum()), int(batch.lengths[batch.valid].sum()))
        return 4.0 * (self.body * (prefix + scored) + self.head * scored)


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 1024, repeats: int = 5) -> float:
    """FLOP/s of the fastest of a few (size, size) matrix products."""
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        _synchronize(device)
        started = time.perf_counter()
        left @ right
        _synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
