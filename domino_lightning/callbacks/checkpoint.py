"""Checkpoints that a killed fit continues from, and steps whose noise does not depend on the kill."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from domino_lightning.store.attempts import SUM
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.contract import breaks
from domino_lightning.utils.jsonl import sha256_file
from domino_lightning.utils.own_frames import raised
from domino_lightning.utils.seeding import derived_seed
from domino_lightning.utils.yielding import make_room

LAST, BEST = "last.ckpt", "best.ckpt"


class ResumableCheckpoint(Callback):
    """Saves `last.ckpt` on cadence and `best.ckpt` at the lowest monitored value, each written atomically.

    A step that is followed by a validation is saved after it: Lightning leaves out, on resume, a validation that
    was still due when the checkpoint was written, and with it the best step would depend on when the run died.
    Between two optimizer steps nothing is saved to continue from: accumulated gradients are in no checkpoint.

    Args:
        directory: where the files go.
        every: steps between saves; None: any number.
        monitor: the metric whose lowest value names the best step.
        seconds: saved as soon as the last save lies so far back, by the first rank's clock; None: never for that.
    """

    def __init__(self, directory: Path, every: int | None, monitor: str | None, seconds: float | None = None) -> None:
        self.directory, self.every, self.monitor, self.seconds = directory, every, monitor, seconds
        self.best: float | None = None
        self.best_step = -1
        self._saved = -1
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The best value so far and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock, and see that there is nothing that could not be saved."""
        refuse_unsavable(trainer)
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Save on cadence, and when the place is about to be taken, unless a validation follows."""
        if self._accumulating(trainer) or self._validation_follows(trainer):
            return
        if self._due(trainer):
            self._save_step(trainer)
        self._make_room(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep the best step, then save."""
        if trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if value is not None and value.item() < (math.inf if self.best is None else self.best):  # never NaN
            self.best, self.best_step = value.item(), trainer.global_step
            self._save(trainer, BEST)
        if not self._accumulating(trainer):
            self._save(trainer, LAST)
            self._make_room(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the last step."""
        if trainer.global_step != self._saved:
            self._save(trainer, LAST)

    def _due(self, trainer: Trainer) -> bool:
        """Whether steps or seconds say so; all ranks take part in a save, so all go by one clock."""
        if self.every is not None and trainer.global_step % self.every == 0:
            return True
        if self.seconds is None:
            return False
        return bool(trainer.strategy.broadcast(time.monotonic() - self._saved_at >= self.seconds))

    def _save_step(self, trainer: Trainer) -> None:
        if trainer.global_step != self._saved:
            # Lightning logs a step after this hook; a kill in between would leave the saved step out of the metrics.
            trainer._logger_connector.update_train_step_metrics()
            self._save(trainer, LAST)

    def _make_room(self, trainer: Trainer) -> None:
        """End here if the place is about to be taken, on a cluster."""
        make_room(
            lambda asked: trainer.strategy.reduce_boolean_decision(asked, all=False),
            lambda: self._save_step(trainer),
        )

    def _accumulating(self, trainer: Trainer) -> bool:
        return trainer.fit_loop._should_accumulate()

    def _validation_follows(self, trainer: Trainer) -> bool:
        loop = trainer.fit_loop.epoch_loop
        return loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def _save(self, trainer: Trainer, name: str) -> None:
        self._write(trainer, self.directory / name)
        if name == LAST:
            self._saved, self._saved_at = trainer.global_step, time.monotonic()

    def _write(self, trainer: Trainer, path: Path) -> None:
        refuse_unsavable(trainer)
        if not trainer.is_global_zero:  # it takes part, and the first rank writes
            trainer.save_checkpoint(path)
            return
        with atomic_write(path) as temporary:
            trainer.save_checkpoint(temporary)
            sums = path.with_name(path.name + SUM)
            known = sums.read_text().split()[-1:] if sums.is_file() else []
            with atomic_write(sums) as beside:  # the old one's stays: either may be there after a kill
                beside.write_text("\n".join([*known, sha256_file(temporary)]) + "\n")


def refuse_unsavable(trainer: Trainer) -> None:
    """Refuse a callback whose state could not be written into a checkpoint, or not be read back from it.

    Raises:
        BrokenContract: it names the callback; those of Lightning and of this package are taken as they are.
    """
    for each in trainer.callbacks:  # type: ignore[attr-defined]
        cls = type(each)
        if cls.__module__.partition(".")[0] in ("lightning", "domino_lightning") or not (state := each.state_dict()):
            continue
        try:
            torch.save(state, saved := io.BytesIO())
            torch.load(io.BytesIO(saved.getvalue()), weights_only=True, map_location="cpu")
        except Exception as error:  # whatever pickle makes of it
            problem = (
                f"state_dict must return tensors and plain values, which a checkpoint holds ({raised(error)[:200]})"
            )
            raise breaks(cls, "lightning.pytorch.Callback", problem, "Leave the rest out of it.") from None


def intact(path: Path) -> bool:
    """Whether a checkpoint is as it was written; one without a hash beside it only has to be readable."""
    try:
        known = path.with_name(path.name + SUM).read_text().split()
    except (OSError, UnicodeDecodeError):
        known = []
    if known:
        return sha256_file(path) in known
    try:
        torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # whatever torch makes of garbage
        return False
    return True


class SeededSteps(Callback):
    """Makes what a step draws from global random state a function of (seed, batch), so that a resumed run repeats it.

    All ranks draw the same where the module says `same_noise` (a noisy D must be one D), or each its own (dropout).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Seed the batch."""
        number = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        rank = 0 if getattr(module, "same_noise", False) else trainer.global_rank
        torch.manual_seed(derived_seed("step", self.seed, number, rank))
