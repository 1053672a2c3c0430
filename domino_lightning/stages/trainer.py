"""The Trainer of a training stage: what the section says, beside what the stage itself gives."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domino_lightning.config.layers import one_line
from domino_lightning.errors import OutOfRange, UserError
from domino_lightning.stages.trainer_settings import lacking, own_loggers, with_cluster_environment
from domino_lightning.store.work import Work
from domino_lightning.utils.ranges import ONE_OR_MORE, POSITIVE, WORKERS_OR_NONE, check_ranges
from domino_lightning.utils.yielding import may_be_asked

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

# Given by the stage, not by the user.
OWNED = {
    "enable_model_summary",
    "num_sanity_val_steps",
    "default_root_dir",
    "enable_checkpointing",
    "enable_progress_bar",
    "use_distributed_sampler",
}


@dataclass(frozen=True)
class TrainingRuntime:
    """Settings that change no result.

    Args:
        checkpoint_every_n_steps: what a kill can cost at most; null: any number.
        checkpoint_every_seconds: the same in seconds since the last checkpoint; whichever comes first counts. null: any
            number. With both null only what a validation or the end of the fit has seen is saved.
        log_every_n_steps: rows of metrics.csv.
        num_workers: loader processes.
        divergence_nats: stop when the loss averages so much more than at the start, or less than minus this; null
            never. A run that it stopped continues under a higher limit.
    """

    checkpoint_every_n_steps: int | None = None
    checkpoint_every_seconds: float | None = 60.0
    log_every_n_steps: int = 1
    num_workers: int = 0
    divergence_nats: float | None = 10.0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        steps = {"checkpoint_every_n_steps": ONE_OR_MORE, "log_every_n_steps": ONE_OR_MORE}
        positive = {"checkpoint_every_seconds": POSITIVE, "divergence_nats": POSITIVE}
        check_ranges("runtime", self, **steps, num_workers=WORKERS_OR_NONE, **positive)


def make_trainer(
    stage: str,
    trainer: Mapping[str, Any],
    runtime: TrainingRuntime,
    seed: int,
    work: Work,
    monitor: str | None,
    callbacks: Sequence[Callback],
) -> Trainer:
    """The Trainer of a stage.

    Args:
        stage: its name.
        trainer: its section; callbacks and loggers stand beside those of the stage.
        runtime: checkpoint cadence, logging.
        seed: of whatever draws from the global generators.
        work: the stage's directory.
        monitor: what the best step is chosen by; None: nothing.
        callbacks: they see a step before it is saved.

    Raises:
        UserError: a seed or a combination of settings that Lightning refuses, or that this machine cannot have.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer, seed_everything

    from domino_lightning.callbacks.checkpoint import ResumableCheckpoint, SeededSteps
    from domino_lightning.callbacks.divergence import StopOnDivergence
    from domino_lightning.callbacks.learning_rate import LearningRate
    from domino_lightning.callbacks.progress import StepProgress
    from domino_lightning.tracking.loggers import lightning_loggers

    if (lack := lacking(trainer)) is not None:  # whatever machine a sweep has brought the stage to
        raise OutOfRange(f"{stage}.trainer", *lack)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    args = dict(trainer)
    own = args.pop("callbacks", None) or []
    further = own_loggers(stage, args.pop("logger", None))
    args["plugins"] = with_cluster_environment(args.get("plugins"))
    limit = runtime.divergence_nats
    try:
        seed_everything(seed, workers=True, verbose=False)
        made = Trainer(
            **args,
            callbacks=[
                *(own if isinstance(own, list) else [own]),
                SeededSteps(seed),
                LearningRate(stage),
                *([StopOnDivergence(stage, limit)] if limit is not None else []),
                *callbacks,
                ResumableCheckpoint(
                    work.scratch, runtime.checkpoint_every_n_steps, monitor, runtime.checkpoint_every_seconds
                ),
                StepProgress(stage),
            ],
            logger=[*lightning_loggers(work), *further],
            log_every_n_steps=runtime.log_every_n_steps,
            default_root_dir=str(work.scratch),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=-1,  # held-out data before the first step
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        what = f"{stage}.trainer or {stage}.seed"
        raise UserError(f"{what}: Lightning refuses it: {one_line(error)}.") from None
    if may_be_asked():
        # Ranks look between two steps whether they were asked to end (`ResumableCheckpoint`). Lightning would tell the
        # others from within its handler of SIGTERM, and end a validation in the middle, with nothing saved.
        made._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return made
