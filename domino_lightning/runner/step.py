"""One stage of a plan: run under its lock, in this process or in one of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config, lookup, one_line
from domino_lightning.config.sections import parse_section
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import Changed, UserError
from domino_lightning.stages import Stage, stage_class
from domino_lightning.store.sources import check_covered, check_sources, forget_compiled, user_sources
from domino_lightning.store.store import StageKey, Store
from domino_lightning.store.work import Work

Announce = Callable[[str], None]
MAX_SEED = 2**32  # what Lightning and NumPy take


@dataclass(frozen=True)
class Step:
    """One stage of a plan: its identity and its literal section."""

    key: StageKey
    section: dict[str, Any]

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.key.stage

    @property
    def id(self) -> tuple[str, str]:
        """Stage and fingerprint: equal for steps that are one and the same."""
        return self.key.stage, self.key.fingerprint


@dataclass(frozen=True)
class Outcome:
    """What became of a step: its directory, and whether it ran now or was found finished."""

    step: Step
    directory: Path
    ran: bool
    wall_s: float


def construct(name: str, config: Config) -> Stage:
    """A stage as its section describes it.

    Raises:
        UserError: a bad key, or a value that one of the section's classes refuses, in one line.
    """
    seed = lookup(config.document, f"{name}.seed")
    if type(seed) is int and not 0 <= seed < MAX_SEED:
        key = f"{name}.seed"
        raise UserError(f"{config.where(key)}: key '{key}': {seed} must be from 0 to {MAX_SEED - 1}.")
    cls = stage_class(name)
    parser = cls.parser()
    parsed = parse_section(parser, name, config)
    try:
        return cls(**vars(parser.instantiate(parsed)))
    except ValueError as error:
        raise UserError(f"{config.where(name)}: section '{name}': {one_line(error)}.") from None


def run_step(
    config: Config,
    store: Store,
    step: Step,
    tracking: Tracking,
    force: bool = False,
    wait: bool = True,
    announce: Announce = lambda text: None,
    begun: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run a step in this process, unless it is finished: lock it, check its inputs, execute, write the manifest.

    Args:
        config: holds the step's section, and says where its keys came from.
        store: where the step and its inputs lie.
        step: the stage to run.
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
    stage, digest = step.id
    directory = store.path(stage, digest)
    started = time.monotonic()
    with store.lock(stage, digest, wait):
        if force:
            store.discard(stage, digest)
        if store.finished(stage, digest):
            announce(f"{stage:<11} {digest}  finished before, not run again")
            return Outcome(step, directory, ran=False, wall_s=0.0)
        resumed = directory.is_dir() and any(directory.iterdir())
        announce(f"{stage:<11} {digest}  {'continuing' if resumed else 'running'}")
        inputs = {name: store.verified(name, value) for name, value in step.key.inputs.items()}
        directory.mkdir(parents=True, exist_ok=True)
        key = step.key
        work = Work(directory, inputs, digest, step.section, tracking, contents=key.contents, sources=key.sources)
        try:
            execute(stage, config, work, begun)
        except (UserError, Changed):
            if not _worth_keeping(directory):  # what was refused leaves nothing behind
                store.discard(stage, digest)
            raise
        wall_s = time.monotonic() - started
        store.finish(step.key, stage_class(stage).version, step.section, wall_s)
    return Outcome(step, directory, ran=True, wall_s=wall_s)


def _worth_keeping(directory: Path) -> bool:
    """Whether an unfinished stage has a checkpoint or a committed block to continue from."""
    return any(any(directory.rglob(pattern)) for pattern in ("*.ckpt", "*-[0-9][0-9][0-9][0-9][0-9].jsonl"))


def execute(stage: str, config: Config, work: Work, begun: Callable[[], None] = lambda: None) -> None:
    """Parse the section, construct the stage and run it in this process, in a W&B run of its own.

    Raises:
        UserError: bad input, or a class whose source the fingerprint does not cover.
        Changed: code or outside content is not what the fingerprint covers.
    """
    from domino_lightning.tracking.wandb import Outputs, artifact_name, log_outputs, stage_run
    from domino_lightning.utils.memory import keep_freed_memory
    from domino_lightning.utils.progress import silence_advice

    silence_advice()
    keep_freed_memory()
    cls = stage_class(stage)
    cls.check_contents(work)
    forget_compiled(user_sources(work.section))
    instance = construct(stage, config)
    check_sources(stage, work.section, work.sources)
    check_covered(stage, instance, work.sources)
    lineage = [artifact_name(name, path.name) for name, path in work.inputs.items() if stage_class(name).artifact]
    work = replace(work, run=stage_run(work, stage, lineage))
    begun()
    try:
        instance.run(work)
        check_sources(stage, work.section, work.sources)  # what was loaded only now
        cls.check_contents(work)  # what was read meanwhile
    except BaseException:
        if work.run is not None:  # or the next stage's run would find this one open
            work.run.finish(exit_code=1)
        raise
    if work.run is not None:
        folder = work.directory
        log_outputs(work, stage, Outputs(cls.metrics(folder), cls.samples_key, cls.samples(folder), cls.artifact))
