"""One stage of a plan: run under its lock, in this process or in one of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import Changed, UserError
from domino_lightning.generation.ledger import keeping
from domino_lightning.stages import stage_class
from domino_lightning.store.attempts import publish, worth_keeping
from domino_lightning.store.coverage import check_loaded, check_sources, look_ahead
from domino_lightning.store.sources import forget_compiled
from domino_lightning.store.store import MANIFEST, StageKey, Store
from domino_lightning.store.work import Work

Announce = Callable[[str], None]


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan: its identity and its literal section."""

    key: StageKey
    section: dict[str, Any]

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.key.stage

    @property
    def id(self) -> tuple[str, str]:
        """Stage and fingerprint: equal for planned stages that are one and the same."""
        return self.key.stage, self.key.fingerprint


@dataclass(frozen=True)
class StageOutcome:
    """What became of a planned stage: its directory, and whether it ran now or was found finished."""

    planned: PlannedStage
    directory: Path
    ran: bool
    wall_s: float


def run_planned(
    config: Config,
    store: Store,
    planned: PlannedStage,
    tracking: Tracking,
    force: bool = False,
    wait: bool = True,
    announce: Announce = lambda text: None,
    begun: Callable[[], None] = lambda: None,
) -> StageOutcome:
    """Run a stage in this process, unless it is finished: lock it, check its inputs, execute, write the manifest.

    Args:
        config: holds the stage's section, and says where its keys came from.
        store: where the stage and its inputs lie.
        planned: what to run.
        tracking: of its W&B run.
        force: run it again although it is finished.
        wait: wait for another process that holds it.
        announce: called with a line about what happens.
        begun: called when everything is loaded and the stage's own work begins.

    Raises:
        Busy: another process holds it, and `wait` is false.
        UserError: bad input found by the stage.
        StageFailed: the stage did not finish.
    """
    stage, digest = planned.id
    directory = store.path(stage, digest)
    started = time.monotonic()
    with store.lock(stage, digest, wait):
        if force:
            store.discard(stage, digest)
        if store.finished(stage, digest):
            announce(f"{stage:<11} {digest}  finished before, not run again")
            if damage := store.resized(stage, digest):
                announce(f"{stage:<11} {digest}  {damage}")
            return StageOutcome(planned, directory, ran=False, wall_s=0.0)
        if (directory / MANIFEST).exists():  # cut off by a crash: what it covered cannot be told from what changed
            announce(f"{stage:<11} {digest}  its manifest is damaged, so the stage is run again")
            store.discard(stage, digest)
        resumed = directory.is_dir() and any(directory.iterdir())
        announce(f"{stage:<11} {digest}  {'continuing' if resumed else 'running'}")
        directory.mkdir(parents=True, exist_ok=True)
        wall_s = _run(config, store, planned, tracking, directory, begun, started)
    return StageOutcome(planned, directory, ran=True, wall_s=wall_s)


def run_attempt(
    config: Config,
    store: Store,
    planned: PlannedStage,
    tracking: Tracking,
    directory: Path,
    begun: Callable[[], None] = lambda: None,
) -> StageOutcome:
    """Run a stage in an attempt's own directory, beside any other attempts, and publish it unless another was first.

    Raises:
        UserError: bad input found by the stage.
        StageFailed: the stage did not finish, or could not be published.
    """
    started = time.monotonic()
    if store.finished(*planned.id):
        return StageOutcome(planned, store.path(*planned.id), ran=False, wall_s=0.0)
    directory.mkdir(parents=True, exist_ok=True)
    wall_s = _run(config, store, planned, tracking, directory, begun, started)
    first = publish(store, *planned.id, directory)
    return StageOutcome(planned, store.path(*planned.id), ran=first, wall_s=wall_s)


def _run(
    config: Config,
    store: Store,
    planned: PlannedStage,
    tracking: Tracking,
    directory: Path,
    begun: Callable[[], None],
    started: float,
) -> float:
    """Check the inputs, execute in the directory, write the manifest; the seconds since `started`."""
    inputs = {name: store.verified(name, value) for name, value in planned.key.inputs.items()}
    key = planned.key
    work = Work(
        directory, inputs, key.fingerprint, planned.section, tracking, contents=key.contents, sources=key.sources
    )
    try:
        execute(planned.stage, config, work, begun)
    except (UserError, Changed):
        if not worth_keeping(directory):  # what was refused leaves nothing behind
            shutil.rmtree(directory, ignore_errors=True)
        raise
    wall_s = time.monotonic() - started
    store.finish(key, stage_class(planned.stage).version, planned.section, wall_s, directory)
    return wall_s


def execute(stage: str, config: Config, work: Work, begun: Callable[[], None] = lambda: None) -> None:
    """Parse the section, construct the stage and run it in this process, in a W&B run of its own.

    Raises:
        UserError: bad input, or a class whose source the fingerprint does not cover.
        Changed: code or outside content is not what the fingerprint covers.
    """
    from domino_lightning.tracking.artifacts import artifact_name
    from domino_lightning.tracking.wandb import Forgiven, Outputs, log_outputs, stage_run
    from domino_lightning.utils.memory import give_back_memory, keep_freed_memory
    from domino_lightning.utils.progress import silence_advice

    silence_advice()
    cls = stage_class(stage)
    if not (cls.devices(work.section) and _gpu_there()):
        keep_freed_memory()
    cls.check_contents(work)
    found = look_ahead(work.section)
    forget_compiled(found)
    instance = cls.from_config(config)
    check_sources(stage, work.section, work.sources)
    lineage = [artifact_name(name, path.name) for name, path in work.inputs.items() if stage_class(name).artifact]
    work = replace(work, run=stage_run(work, stage, lineage))
    begun()
    try:
        with keeping(lambda: work.scratch) as ledger:
            instance.run(work)
        ledger.close(work.directory)
        check_loaded(stage, found)  # what was loaded only now
        check_sources(stage, work.section, work.sources)
        cls.check_contents(work)  # what was read meanwhile
    except BaseException as error:
        if work.run is not None:  # or the next stage's run would find this one open
            with Forgiven():
                work.run.finish(exit_code=1)
        error.add_note(f"stage {stage}")
        raise
    finally:
        del instance
        give_back_memory()  # the next stage of this process needs the device whole
    if work.run is not None:
        folder = work.directory
        samples = cls.samples(folder, work.section)
        log_outputs(work, stage, Outputs(cls.metrics(folder), cls.samples_key, samples, cls.artifact))


def _gpu_there() -> bool:
    import torch

    return torch.cuda.is_available()
