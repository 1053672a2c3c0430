"""Lightning's loggers of a training stage; ours appends, where Lightning's own would start the file anew on resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from domino_lightning.store.work import Work
from domino_lightning.tracking.metrics_file import METRICS, SPEED, MetricsFile
from domino_lightning.tracking.wandb import STEP, Forgiven

TIMED = "/speed/"


class LongCsvLogger(Logger):
    """Rows of step, key, value.

    What depends on the clock (`<stage>/speed/<name>`) goes to speed.csv beside it, so that a run that was killed and
    continued ends with the same metrics.csv as one that was not.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """Fixed: the directory says whose metrics these are."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one file a stage."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append, leaving out Lightning's own `epoch`."""
        kept = {key: value for key, value in metrics.items() if key != "epoch"}
        timed = {key: kept.pop(key) for key in list(kept) if TIMED in key}
        if kept:
            MetricsFile(self.path).append(step or 0, kept)
        if timed:
            MetricsFile(self.path.with_name(SPEED)).append(step or 0, timed)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the manifest holds the section."""


def lightning_loggers(work: Work) -> list[Any]:
    """Loggers of a training stage: metrics.csv always, and the stage's W&B run if there is one."""
    loggers: list[Any] = [LongCsvLogger(work.directory / METRICS)]
    if work.run is not None:
        loggers.append(ForgivingWandbLogger(experiment=work.run))
    return loggers


class ForgivingWandbLogger(WandbLogger):
    """Logs to W&B until that fails, and says so once: a tracker never ends a fit."""

    failed = False

    def _try(self, call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if self.failed:
            return
        with Forgiven():
            call(*args, **kwargs)
            return
        self.failed = True

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Numbers of a step."""
        self._try(super().log_metrics, *args, **kwargs)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Settings."""
        self._try(super().log_hyperparams, *args, **kwargs)

    def log_table(self, *args: Any, **kwargs: Any) -> None:
        """A table of texts."""
        self._try(super().log_table, *args, **kwargs)

    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Images."""
        self._try(super().log_image, *args, **kwargs)

    def log_histogram(self, key: str, values: Sequence[float], step: int) -> None:
        """The distribution of some values at a step."""
        import wandb

        self._try(lambda: self.experiment.log({key: wandb.Histogram(list(values)), STEP: step}))

    def finalize(self, status: str) -> None:
        """The end of the fit."""
        self._try(super().finalize, status)
