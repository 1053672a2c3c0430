"""What the training modules share: the mean NLL of held-out data, and checkpoints of what trains alone."""

from __future__ import annotations

from typing import Any, ClassVar

from lightning.pytorch import LightningModule
from torchmetrics import MeanMetric


class HeldoutModule(LightningModule):
    """A module whose validation steps update `heldout_nll`, and whose `state_dict` is not all of it.

    Whatever is logged stands at the number of optimizer steps done by then: the first step's loss at 1, held-out data
    before it at 0. Lightning, which counts from 0, takes the number from a metric named `step`.

    Class attributes:
        heldout_key: what the mean is logged as, in nats.
    """

    heldout_key: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.heldout_nll = MeanMetric(nan_strategy="disable")  # a NaN is shown, not left out
        self.strict_loading = False

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Say which step is under way."""
        self.log("step", float(self.global_step + 1))

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.heldout_nll.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the mean over held-out data; Lightning itself logs nothing of the look before the first step."""
        mean = self.heldout_nll.compute()
        if self.trainer.sanity_checking:
            for logger in self.loggers:
                logger.log_metrics({self.heldout_key: mean.item()}, step=0)
            return
        self.log_dict({self.heldout_key: mean, "step": float(self.global_step)})
