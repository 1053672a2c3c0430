"""What all training modules need: an optimizer with its schedule, and a finiteness check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from domino_lightning.errors import StageFailed


def warmup_then_linear(warmup: int, total: int) -> Callable[[int], float]:
    """Learning-rate factor of a step: linear from 1/(warmup+1) to 1, then linear to 0 at `total`."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (total - step) / max(1, total - warmup))

    return factor


def scheduled_adamw(
    parameters: Iterable[Any], learning_rate: float, warmup_steps: int, total_steps: int
) -> dict[str, Any]:
    """AdamW without weight decay along `warmup_then_linear`, as `configure_optimizers` gives it to Lightning."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_linear(warmup_steps, total_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def check_finite(stage: str, step: int, terms: Mapping[str, Tensor]) -> None:
    """Stop a run whose loss is no number.

    Raises:
        StageFailed: the first term that is NaN or infinite, with step and remedy; the last checkpoint stays.
    """
    for name, value in terms.items():
        if not bool(torch.isfinite(value).all()):
            raise StageFailed(
                f"{stage}: term '{name}' is {value.item()} at step {step}. Lower {stage}.model.learning_rate or the "
                f"loss's weight. The last good checkpoint stays in the stage's directory."
            )
