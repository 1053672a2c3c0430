"""What the training modules share: the mean NLL of held-out data, and checkpoints of what trains alone."""

from __future__ import annotations

from typing import ClassVar

from lightning.pytorch import LightningModule
from torchmetrics import MeanMetric


class HeldoutModule(LightningModule):
    """A module whose validation steps update `heldout_nll`, and whose `state_dict` is not all of it.

    Class attributes:
        heldout_key: what the mean is logged as, in nats.
    """

    heldout_key: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.heldout_nll = MeanMetric(nan_strategy="disable")  # a NaN is shown, not left out
        self.strict_loading = False

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.heldout_nll.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the mean over held-out data."""
        self.log(self.heldout_key, self.heldout_nll.compute())
