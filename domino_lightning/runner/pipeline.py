"""An experiment as a plan of stages: fingerprints first, then run what is not finished, in order."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config, write_document
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import Busy, StageFailed, UserError, disk_trouble
from domino_lightning.runner.child import run_apart
from domino_lightning.runner.earlier import earlier_record, lost_stages, set_aside
from domino_lightning.runner.planned import Announce, PlannedStage, StageOutcome, run_planned
from domino_lightning.stages import STAGES, Stage, stage_class
from domino_lightning.store.coverage import check_loaded, check_sources, look_ahead
from domino_lightning.store.locks import LOCK, held
from domino_lightning.store.sources import forget_compiled
from domino_lightning.store.store import StageKey, Store, fingerprint
from domino_lightning.utils.jsonl import write_json
from domino_lightning.utils.masking import masked, masked_override


def needed_stages(config: Config, until: str | None = None) -> list[str]:
    """The stages that `evaluate` (or `until`) rests on, in order."""
    wanted = {until or STAGES[-1]}
    for name in reversed(STAGES):
        if name in wanted:
            wanted.update(stage_class(name).inputs(config.document[name]))
    return [name for name in STAGES if name in wanted]


def make_plan(config: Config, until: str | None = None) -> list[PlannedStage]:
    """Every stage with its fingerprint, known before anything runs.

    Raises:
        UserError: a section that is no mapping, or outside content that is not there.
    """
    for name in STAGES:
        if not isinstance(config.document[name], dict):
            got = config.document[name]
            raise UserError(f"{config.where(name)}: key '{name}': expected a mapping of keys, got {got!r}.")
    planned: dict[str, PlannedStage] = {}
    for name in needed_stages(config, until):
        cls, section = stage_class(name), config.document[name]
        if strange := set(cls.inputs(section)) - planned.keys():
            there = ", ".join(planned) or "none"
            raise UserError(f"{name}: a class of it reads '{min(strange)}', which is no stage before it ({there}).")
        inputs = {stage: planned[stage].key.fingerprint for stage in cls.inputs(section)}
        found = look_ahead(section)  # before contents, which may load them
        forget_compiled(found)
        sources = {module: source.sha256 for module, source in found.items()}
        contents = cls.outside(section)
        check_loaded(name, found)
        digest = fingerprint(name, cls.version, cls.identity(section), inputs, contents, sources)
        planned[name] = PlannedStage(StageKey(name, digest, inputs, contents, sources), section)
    return list(planned.values())


def build(config: Config, stages: Sequence[str] = STAGES) -> dict[str, Stage]:
    """The given stages as their sections describe them, checked against their typed classes; no model is loaded.

    Raises:
        UserError: the first bad key or value, in one line.
    """
    return {name: stage_class(name).from_config(config) for name in stages}


def validate(config: Config, stages: Sequence[str] = STAGES) -> None:
    """Check the sections of the given stages against their typed classes, loading no model.

    Raises:
        UserError: the first bad key or value, in one line.
    """
    build(config, stages)


def refuse_machines(config: Config, to_run: Sequence[PlannedStage]) -> None:
    """Refuse stages on several machines, where one is at hand, and on devices that it does not have.

    Raises:
        UserError: the first one.
    """
    for planned in to_run:
        nodes = stage_class(planned.stage).nodes(planned.section)
        if nodes > 1:
            key = f"{planned.stage}.trainer.num_nodes"
            raise UserError(
                f"{config.where(key)}: key '{key}': {nodes} machines, and `domino run` has this one. Set it to 1, or "
                "run a sweep with a SlurmLauncher or RayLauncher (docs/clusters.md)."
            )
        if (lack := stage_class(planned.stage).lacking(planned.section)) is not None:
            key = f"{planned.stage}.{lack.partition(':')[0]}"
            raise UserError(f"{config.where(key)}: {planned.stage}.{lack}")


def run_plan(
    config: Config,
    plan: Sequence[PlannedStage],
    trial: str,
    overrides: Sequence[str],
    force: Sequence[str] = (),
    in_process: bool = False,
    announce: Announce = lambda text: None,
) -> list[StageOutcome]:
    """Run the stages that are not finished and link all of them under `runs/<experiment>/<trial>/`.

    A trial of this name with stages of another configuration is kept under a dated name, with a word. Further stages
    of this configuration that it had stay in the record.

    Args:
        config: the composed configuration.
        plan: stages in order, each after what it reads.
        trial: the trial's name.
        overrides: what was changed, for `trial.json`.
        force: stages to run again although they are finished.
        in_process: run training stages in this process too.
        announce: called with one line per stage.

    Raises:
        UserError: bad input found by a stage, or another process is running a trial of this name that is another.
        StageFailed: a stage that did not finish.
    """
    store = Store(config.document["root"])
    document = config.document
    due = [each for each in plan if each.stage in force or not store.finished(*each.id)]
    refuse_machines(config, due)
    if due:
        validate(config)
        for planned in plan:  # what is loaded by now is what runs, however long it takes to get there
            check_sources(planned.stage, planned.section, planned.key.sources)
    experiment = str(document["name"])
    store.create(store.runs(experiment), *(store.path(*each.id) for each in due))
    record = _begun(experiment, trial, overrides, plan)
    tracking = Tracking(**document["tracking"], group=experiment, root=str(store.root))
    outcomes: list[StageOutcome] = []
    ours = False  # what stands in the trial's record
    with ExitStack() as stack:
        try:
            folder = store.trial(experiment, trial)
            try:
                stack.enter_context(held(folder / LOCK, f"trial {trial}"))
                alone = True
            except Busy:  # the same trial, given twice: its stages wait for each other
                alone = False
            record["stages"] = _with_earlier(config, store, folder, record["stages"], alone, announce)
            ours = True
            write_trial(folder, document, record)
            for planned in plan:
                forced = planned.stage in force
                if in_process or not _apart(planned) or (store.finished(*planned.id) and not forced):
                    outcome = run_planned(config, store, planned, tracking, forced, announce=announce)
                else:
                    outcome = run_apart(store, planned, tracking, forced, announce)
                outcomes.append(outcome)
                store.link(folder, planned.stage, planned.key.fingerprint)
            write_trial(folder, document, {**record, "status": "finished"})
        except BaseException as error:
            trouble = disk_trouble(error, store.root)
            interrupted = isinstance(error, KeyboardInterrupt)
            message = {"error": trouble or str(error) or type(error).__name__}
            ended = {"status": "interrupted"} if interrupted else {"status": "failed", **message}
            if ours:
                with suppress(OSError):  # where the disk is the trouble, `ls` tells by the lock
                    write_trial(folder, document, record | ended)
                if not interrupted:
                    _log_trial(tracking, record | ended, outcomes, document)
            if trouble:
                raise StageFailed(trouble) from None
            raise
    if any(outcome.ran for outcome in outcomes):
        _log_trial(tracking, {**record, "status": "finished"}, outcomes, document)
    return outcomes


def _begun(experiment: str, trial: str, overrides: Sequence[str], plan: Sequence[PlannedStage]) -> dict[str, Any]:
    """The record of a trial that begins to run now."""
    return {
        "experiment": experiment,
        "trial": trial,
        "overrides": list(overrides),
        "stages": {planned.stage: planned.key.fingerprint for planned in plan},
        "status": "running",
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _log_trial(
    tracking: Tracking, record: dict[str, Any], outcomes: Sequence[StageOutcome], document: dict[str, Any]
) -> None:
    """Give a trial that is over its W&B run, where it is tracked."""
    if tracking.wandb == "disabled":
        return
    from domino_lightning.results.trial_log import trial_log
    from domino_lightning.tracking.wandb import Forgiven, axes_of, log_trial

    with Forgiven():
        folders = {outcome.planned.stage: outcome.directory for outcome in outcomes}
        metrics = ChainMap(*(stage_class(name).metrics(folder) for name, folder in folders.items()))
        log_trial(tracking, record, axes_of(record["overrides"]), trial_log(folders, metrics, document))


def _with_earlier(
    config: Config, store: Store, folder: Path, stages: dict[str, str], alone: bool, announce: Announce
) -> dict[str, str]:
    """The trial's stages, with those further ones of this configuration that it had; another's trial is set aside."""
    earlier = earlier_record(folder)
    known = stages
    if lost_stages(store, earlier, stages):
        with suppress(UserError):  # something that this run does not need is not there, so it cannot be the same
            known = {planned.stage: planned.key.fingerprint for planned in make_plan(config)} | stages
    if lost_stages(store, earlier, known):
        if not alone:
            raise UserError(
                f"{folder}: another process is running this trial with another configuration. Name this one by --trial."
            )
        kept = set_aside(folder, earlier)
        announce(f"an earlier run of another configuration was here; it is kept as {kept}")
        return stages
    further = {name: digest for name, digest in known.items() if earlier.get("stages", {}).get(name) == digest}
    return {name: digest for name, digest in known.items() if name in stages or name in further}


def _apart(planned: PlannedStage) -> bool:
    return stage_class(planned.stage).own_process(planned.section)


def write_trial(folder: Path, document: dict[str, Any], record: dict[str, Any]) -> None:
    """Write a trial's `config.yaml` and `trial.json`, each atomically and without secrets."""
    write_document(folder / "config.yaml", masked(document))
    write_record(folder, record)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write a trial's `trial.json`, atomically and without secrets."""
    overrides = [masked_override(text) for text in record.get("overrides", ())]
    write_json(folder / "trial.json", {**masked(record), "overrides": overrides})
