"""What both training modules need: a schedule, a finiteness check, checkpoints that resume exactly, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


