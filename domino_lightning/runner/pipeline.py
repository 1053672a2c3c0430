"""An experiment as a plan of stages: fingerprints first, then run what is not finished, in order."""

from __future__ import annotations

import os
import time
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.runner.child import run_apart
from domino_lightning.runner.step import Announce, Outcome, Step, construct, run_step
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.store.sources import check_sources, forget_compiled, user_sources
from domino_lightning.store.store import StageKey, Store, fingerprint
from domino_lightning.utils.jsonl import write_json


def needed_stages(config: Config, until: str | None = None) -> list[str]:
    """The stages that `evaluate` (or `until`) rests on, in order."""
    wanted = {until or STAGES[-1]}
    for name in reversed(STAGES):
        if name in wanted:
            wanted.update(stage_class(name).inputs(config.document[name]))
    return [name for name in STAGES if name in wanted]


def make_plan(config: Config, until: str | None = None) -> list[Step]:
    """Every stage with its fingerprint, known before anything runs.

    Raises:
        UserError: a section that is no mapping, or outside content that is not there.
    """
    for name in STAGES:
        if not isinstance(config.document[name], dict):
            got = config.document[name]
            raise UserError(f"{config.where(name)}: key '{name}': expected a mapping of keys, got {got!r}.")
    steps: dict[str, Step] = {}
    for name in needed_stages(config, until):
        cls, section = stage_class(name), config.document[name]
        inputs = {stage: steps[stage].key.fingerprint for stage in cls.inputs(section)}
        found = user_sources(section)  # before contents, which may load them
        forget_compiled(found)
        sources = {module: source.sha256 for module, source in found.items()}
        contents = cls.contents(section)
        digest = fingerprint(name, cls.version, cls.identity(section), inputs, contents, sources)
        steps[name] = Step(StageKey(name, digest, inputs, contents, sources), section)
    return list(steps.values())


def validate(config: Config, stages: Sequence[str] = STAGES) -> None:
    """Check the sections of the given stages against their typed classes, loading no model.

    Raises:
        UserError: the first bad key or value, in one line.
    """
    for name in stages:
        construct(name, config)


def run_plan(
    config: Config,
    plan: Sequence[Step],
    trial: str,
    overrides: Sequence[str],
    force: Sequence[str] = (),
    in_process: bool = False,
    announce: Announce = lambda text: None,
) -> list[Outcome]:
    """Run the steps that are not finished and link all of them under `runs/<experiment>/<trial>/`.

    Args:
        config: the composed configuration.
        plan: steps in order, each after what it reads.
        trial: the trial's name.
        overrides: what was changed, for `trial.json`.
        force: stages to run again although they are finished.
        in_process: run training stages in this process too.
        announce: called with one line per step.

    Raises:
        UserError: bad input found by a stage.
        StageFailed: a stage that did not finish.
    """
    store = Store(config.document["root"])
    document = config.document
    if any(step.stage in force or not store.finished(*step.id) for step in plan):
        validate(config)
        for step in plan:  # what is loaded by now is what runs, however long it takes to get there
            check_sources(step.stage, step.section, step.key.sources)
    store.create()
    folder = store.trial(document["name"], trial)
    experiment = str(document["name"])
    record: dict[str, Any] = {
        "experiment": experiment,
        "trial": trial,
        "overrides": list(overrides),
        "stages": {step.stage: step.key.fingerprint for step in plan},
        "status": "running",
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_trial(folder, document, record)
    tracking = Tracking(**document["tracking"], group=experiment, root=str(store.root))
    outcomes: list[Outcome] = []
    try:
        for step in plan:
            forced = step.stage in force
            if in_process or not _apart(step) or (store.finished(*step.id) and not forced):
                outcome = run_step(config, store, step, tracking, forced, announce=announce)
            else:
                outcome = run_apart(store, step, tracking, forced, announce)
            outcomes.append(outcome)
            store.link(folder, step.stage, step.key.fingerprint)
    except BaseException as error:
        message = str(error) or type(error).__name__
        write_trial(folder, document, {**record, "status": "failed", "error": message})
        raise
    write_trial(folder, document, {**record, "status": "finished"})
    if any(outcome.ran for outcome in outcomes):
        from domino_lightning.tracking.wandb import axes_of, log_trial

        metrics = [stage_class(outcome.step.stage).metrics(outcome.directory) for outcome in outcomes]
        log_trial(tracking, record, axes_of(record["overrides"]), dict(ChainMap(*metrics)))
    return outcomes


def _apart(step: Step) -> bool:
    return stage_class(step.stage).own_process(step.section)


def write_trial(folder: Path, document: dict[str, Any], record: dict[str, Any]) -> None:
    """Write a trial's `config.yaml` and `trial.json`, each atomically."""
    import yaml

    temporary = folder / f".config.{os.getpid()}"
    temporary.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    os.replace(temporary, folder / "config.yaml")
    write_json(folder / "trial.json", record)
