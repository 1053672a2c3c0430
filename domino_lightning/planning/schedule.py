"""How often a training section does what: steps, batches of a step, validations, prompts of a text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from domino_lightning.stages.epochs import limited


def prompts(pairs: str | int, batch: int) -> int:
    """K, the sample prompts that a text is scored under."""
    named = {"none": 0, "own": 1, "all": batch}
    return named[pairs] if isinstance(pairs, str) else 1 + min(pairs, batch - 1)


def steps(trainer: Mapping[str, Any], rows: int, batch: int) -> int:
    """Optimizer steps that a trainer section takes on so many rows."""
    together = int(trainer.get("accumulate_grad_batches") or 1)
    batches = limited(trainer.get("limit_train_batches"), math.ceil(rows / batch))
    limit, epochs = trainer.get("max_steps", -1), trainer.get("max_epochs")
    if epochs is None:
        epochs = 1000 if limit < 0 else -1  # as Lightning reads it
    counts = [limit] if limit >= 0 else []
    if epochs >= 0:
        counts.append(epochs * math.ceil(batches / together))
    return min(counts, default=0)


def validations(trainer: Mapping[str, Any], count: int, rows: int, batch: int) -> float:
    """How often held-out data is looked at in `count` steps: before them, then on cadence."""
    interval = trainer.get("val_check_interval") or 1.0
    epoch = math.ceil(rows / batch)
    every = interval * epoch if isinstance(interval, float) else interval
    return 1 + count * accumulated(trainer, rows, batch) // max(1, every)


def accumulated(trainer: Mapping[str, Any], rows: int, batch: int) -> int:
    """Batches of a step; no more than an epoch has, since Lightning takes a step at its end."""
    batches = limited(trainer.get("limit_train_batches"), math.ceil(rows / batch))
    return max(1, min(int(trainer.get("accumulate_grad_batches") or 1), batches))


def share_of(trainer: Mapping[str, Any], rows: int, batch: int) -> float:
    """The share of held-out rows that `limit_val_batches` leaves."""
    limit = trainer.get("limit_val_batches")
    if isinstance(limit, int) and rows:
        return min(1.0, limit * batch / rows)
    return limit if isinstance(limit, float) else 1.0
