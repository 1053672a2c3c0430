"""Steps of a fit on a terminal and in a log."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StepProgress(Callback):
    """One bar over all optimizer steps, with ETA, loss and the last held-out value."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the bar where a resumed run stands."""
        from domino_lightning.utils.progress import progress_bar

        total = int(trainer.estimated_stepping_batches)
        self.bar = progress_bar(
            total=total, initial=trainer.global_step, desc=self.stage, unit="step", disable=not trainer.is_global_zero
        )

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Advance by the optimizer steps done."""
        shown = {}
        for key, label in ((f"{self.stage}/train/loss", "loss"), (f"{self.stage}/heldout/nll", "heldout")):
            if key in trainer.callback_metrics:
                shown[label] = f"{trainer.callback_metrics[key].item():.3f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that what went wrong stands on a line of its own."""
        if hasattr(self, "bar"):
            self.bar.close()
