"""What tune and finetune share: a parser of model, data and trainer sections, and a resumable fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.config.document import one_line
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.store.work import Section, Work

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

# Given by the stage, not by the user.
OWNED = {
    "logger",
    "enable_model_summary",
    "num_sanity_val_steps",
    "default_root_dir",
    "enable_checkpointing",
    "enable_progress_bar",
    "use_distributed_sampler",
}


# Which ranks share the work: a step's batch is the same on any number of them.
RANKS = ("devices", "num_nodes", "strategy")


def without_ranks(section: Section) -> Section:
    """The section without the trainer settings that say which ranks share the work."""
    trainer = section.get("trainer")
    if not isinstance(trainer, dict):  # validation says what is wrong with it
        return section
    return {**section, "trainer": {key: value for key, value in trainer.items() if key not in RANKS}}


@dataclass(frozen=True)
class TrainingRuntime:
    """Settings that change no result.

    Args:
        checkpoint_every_n_steps: what a kill can cost.
        log_every_n_steps: rows of metrics.csv.
        num_workers: loader processes.
        divergence_nats: stop when the loss averages so much more than at the start, or less than minus this; null
            never. A run that it stopped continues under a higher limit.
    """

    checkpoint_every_n_steps: int = 10
    log_every_n_steps: int = 1
    num_workers: int = 0
    divergence_nats: float | None = 10.0


def training_parser(
    model: type, data: type, filled_by_stage: set[str], runtime: type[TrainingRuntime] = TrainingRuntime
) -> Any:
    """A parser of `model`, `data`, `trainer`, `seed` and `runtime`; `data` lacks what the stage fills in."""
    from jsonargparse import ArgumentParser
    from lightning.pytorch import Trainer

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(model, "model", skip={"seed"}, instantiate=False)
    parser.add_class_arguments(data, "data", skip={*filled_by_stage, "seed", "num_workers"}, instantiate=False)
    parser.add_class_arguments(Trainer, "trainer", skip=OWNED | {"log_every_n_steps"}, instantiate=False)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_class_arguments(runtime, "runtime")
    return parser


def ranks(section: Section) -> int:
    """Processes of one node that a training section asks for; `auto` and -1 count as one, the launcher's one."""
    trainer = section.get("trainer")
    devices = trainer.get("devices") if isinstance(trainer, Mapping) else None
    if isinstance(devices, list):
        return max(1, len(devices))
    return int(text) if (text := str(devices)).isdigit() and int(text) else 1


def check_shares(batch_size: int, trainer: Mapping[str, Any]) -> None:
    """Refuse a batch that the ranks cannot share out evenly, where the section says how many they are.

    Raises:
        UserError: it names both.
    """
    from domino_lightning.data.batches import rank_slots

    rank_slots(batch_size, 0, ranks({"trainer": trainer}) * int(trainer.get("num_nodes") or 1))


def accelerators(section: Section) -> int:
    """Accelerators of one node that a training section asks for."""
    trainer = section.get("trainer")
    on_cpu = isinstance(trainer, Mapping) and trainer.get("accelerator") == "cpu"
    return 0 if on_cpu else ranks(section)


def fit(
    stage: str,
    model: LightningModule,
    data: LightningDataModule,
    trainer_args: Mapping[str, Any],
    runtime: TrainingRuntime,
    work: Work,
    seed: int,
    monitor: str | None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Trainer, Path, Path]:
    """Fit, continuing from the stage's last checkpoint if there is one; `callbacks` see a step before it is saved.

    Returns:
        The trainer, the last checkpoint and the best one (the last, if nothing was monitored).

    Raises:
        UserError: a seed or a combination of trainer settings that Lightning refuses.
        StageFailed: the run was interrupted before its last step.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer, seed_everything

    from domino_lightning.callbacks.checkpoint import BEST, LAST, ResumableCheckpoint, SeededSteps
    from domino_lightning.callbacks.divergence import StopOnDivergence
    from domino_lightning.callbacks.progress import StepProgress
    from domino_lightning.tracking.loggers import lightning_loggers

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    args = dict(trainer_args)
    user_callbacks = args.pop("callbacks", None) or []
    checkpoint = ResumableCheckpoint(work.scratch, runtime.checkpoint_every_n_steps, monitor)
    guards = [StopOnDivergence(stage, runtime.divergence_nats)] if runtime.divergence_nats is not None else []
    try:
        seed_everything(seed, workers=True, verbose=False)
        trainer = Trainer(
            **args,
            callbacks=[
                *(user_callbacks if isinstance(user_callbacks, list) else [user_callbacks]),
                SeededSteps(seed),
                *guards,
                *callbacks,
                checkpoint,
                StepProgress(stage),
            ],
            logger=lightning_loggers(work),
            log_every_n_steps=runtime.log_every_n_steps,
            default_root_dir=str(work.scratch),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"{stage}.trainer or {stage}.seed: Lightning refuses it: {one_line(error)}.") from None
    last, best = work.scratch / LAST, work.scratch / BEST
    # weights_only: a checkpoint of ours holds tensors and plain values; nothing is unpickled.
    try:
        trainer.fit(model, datamodule=data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if not last.is_file():
        raise StageFailed(f"stage {stage} ended without a checkpoint in {work.scratch}.")
    return trainer, last, best if best.is_file() else last


