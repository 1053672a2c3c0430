"""How many batches, optimizer steps and texts a training section comes to, as Lightning counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domino_lightning.data.slots import batch_sizes


@dataclass(frozen=True)
class Epochs:
    """The course of a training stage; what depends on unknown data is None.

    A step is taken after `accumulate_grad_batches` batches, and at the end of every epoch whatever has come together.

    Attributes:
        sizes: texts of each batch of an epoch; None: the data is not there yet.
        together: batches of a step, but for the last of an epoch.
        max_steps: limit in steps, if there is one.
        max_epochs: limit in epochs, if there is one.
    """

    sizes: tuple[int, ...] | None
    together: int
    max_steps: int | None
    max_epochs: int | None

    @classmethod
    def of(cls, trainer: Mapping[str, Any], batch_size: int, seed: int, owners: Sequence[int] | None) -> Epochs:
        """Of a training section on rows of the given samples; None: on rows that are not there yet."""
        sizes = None
        if owners is not None:
            whole = batch_sizes(owners, batch_size, seed)
            sizes = tuple(whole[: limited(trainer.get("limit_train_batches"), len(whole))])
        steps, epochs = trainer.get("max_steps", -1), trainer.get("max_epochs")
        if epochs is None and steps in (None, -1):
            epochs = 1000  # as Lightning reads it
        together = int(trainer.get("accumulate_grad_batches") or 1)
        return cls(sizes, together, None if steps in (None, -1) else steps, None if epochs in (None, -1) else epochs)

    @property
    def batches(self) -> int | None:
        """Batches of an epoch."""
        return None if self.sizes is None else len(self.sizes)

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole run; None too where only time ends it."""
        counts = [] if self.max_steps is None else [self.max_steps]
        if self.max_epochs is not None:
            if self.sizes is None:
                return None
            counts.append(self.max_epochs * len(self._epoch()))
        return min(counts, default=None)

    @property
    def begun(self) -> int | None:
        """Epochs of the whole run, of which the last may be cut short."""
        each = len(self._epoch())
        return None if self.steps is None or not each else -(-self.steps // each)

    @property
    def run(self) -> int | None:
        """Batches of the whole run."""
        return self._total([len(step) for step in self._epoch()])

    @property
    def texts(self) -> int | None:
        """Texts that the whole run is fed, each time counted."""
        return self._total([sum(step) for step in self._epoch()])

    def _epoch(self) -> list[tuple[int, ...]]:
        """The sizes of the batches of each step of an epoch."""
        sizes = self.sizes or ()
        return [sizes[first : first + self.together] for first in range(0, len(sizes), self.together)]

    def _total(self, per_step: Sequence[int]) -> int | None:
        if self.steps is None or not per_step:
            return None
        epochs, rest = divmod(self.steps, len(per_step))
        return epochs * sum(per_step) + sum(per_step[:rest])


def limited(limit: Any, batches: int) -> int:
    """Batches that `limit_train_batches` leaves, a number or a share of them."""
    if limit is None:
        return batches
    return min(limit, batches) if isinstance(limit, int) else int(limit * batches)
