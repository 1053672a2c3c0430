"""An experiment as a plan of stages: fingerprints first, then run what is not finished, in order."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from domino_lightning.config import Config, one_line
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.records import read_json, sha256_file, write_json
from domino_lightning.sections import parse_section
from domino_lightning.stages import STAGES, Stage, Tracking, Work, stage_class
from domino_lightning.store import StageKey, Store, fingerprint

ERROR_FILE = "error.json"


@dataclass(frozen=True)
class Step:
    """One stage of a plan."""

    key: StageKey
    section: dict[str, Any]

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.key.stage


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
        contents = cls.contents(section)
        digest = fingerprint(name, cls.version, cls.identity(section), inputs, contents, source_hashes(section))
        steps[name] = Step(StageKey(name, digest, inputs), section)
    return list(steps.values())


def source_hashes(section: Any) -> dict[str, str]:
    """The sha256 of the source file of every `class_path` in the section that lies outside the package.

    Raises:
        UserError: a class path whose module cannot be found.
    """
    hashes: dict[str, str] = {}
    for class_path in _class_paths(section):
        module = class_path.rpartition(".")[0]
        if not module or module.split(".")[0] in {"domino_lightning", "torch", "lightning", "builtins"}:
            continue
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            raise UserError(
                f"class_path '{class_path}': module '{module}' is not found. Run from the directory that holds "
                "it with `python -m domino_lightning`, or install it."
            )
        if spec.origin and Path(spec.origin).is_file():
            hashes[class_path] = sha256_file(spec.origin)
    return hashes


def _class_paths(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("class_path"), str):
            yield node["class_path"]
        for value in node.values():
            yield from _class_paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from _class_paths(value)


def validate(config: Config, stages: Sequence[str] = STAGES) -> None:
    """Check the sections of the given stages against their typed classes, loading no model.

    Raises:
        UserError: the first bad key or value, in one line.
    """
    for name in stages:
        construct(name, config)


def construct(name: str, config: Config) -> Stage:
    """A stage as its section describes it.

    Raises:
        UserError: a bad key, or a value that one of the section's classes refuses, in one line.
    """
    cls = stage_class(name)
    parser = cls.parser()
    parsed = parse_section(parser, name, config)
    try:
        return cls(**vars(parser.instantiate(parsed)))
    except ValueError as error:
        raise UserError(f"{config.where(name)}: section '{name}': {one_line(error)}.") from None


@dataclass(frozen=True)
class Outcome:
    """What became of a step: its directory, and whether it ran now or was found finished."""

    step: Step
    directory: Path
    ran: bool
    wall_s: float


def run_plan(
    config: Config,
    plan: Sequence[Step],
    trial: str,
    overrides: Sequence[str],
    force: Sequence[str] = (),
    in_process: bool = False,
    announce: Callable[[str], None] = lambda text: None,
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
    if any(step.stage in force or not store.finished(*_id(step)) for step in plan):
        validate(config)
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
    _write_trial(folder, document, record)
    tracking = Tracking(**document["tracking"], group=experiment, root=str(store.root))
    outcomes: list[Outcome] = []
    try:
        for step in plan:
            outcomes.append(
                _run_step(config, store, step, step.stage in force, in_process, tracking, announce)
            )
            store.link(folder, step.stage, step.key.fingerprint)
    except BaseException as error:
        message = str(error) or type(error).__name__
        _write_trial(folder, document, {**record, "status": "failed", "error": message})
        raise
    _write_trial(folder, document, {**record, "status": "finished"})
    if any(outcome.ran for outcome in outcomes):
        from domino_lightning.tracking import log_trial

        log_trial(tracking, record, {outcome.step.stage: outcome.directory for outcome in outcomes})
    return outcomes


def _id(step: Step) -> tuple[str, str]:
    return step.stage, step.key.fingerprint


def _write_trial(folder: Path, document: dict[str, Any], record: dict[str, Any]) -> None:
    import yaml

    temporary = folder / f".config.{os.getpid()}"
    temporary.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    os.replace(temporary, folder / "config.yaml")
    write_json(folder / "trial.json", record)


def _run_step(
    config: Config,
    store: Store,
    step: Step,
    force: bool,
    in_process: bool,
    tracking: Tracking,
    announce: Callable[[str], None],
) -> Outcome:
    stage, digest = _id(step)
    directory = store.path(stage, digest)
    started = time.monotonic()
    with store.lock(stage, digest):
        if force:
            store.discard(stage, digest)
        if store.finished(stage, digest):
            announce(f"{stage:<11} {digest}  finished before, not run again")
            return Outcome(step, directory, ran=False, wall_s=0.0)
        resumed = directory.is_dir() and any(directory.iterdir())
        announce(f"{stage:<11} {digest}  {'continuing' if resumed else 'running'}")
        inputs = {name: store.verified(name, value) for name, value in step.key.inputs.items()}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ERROR_FILE).unlink(missing_ok=True)
        work = Work(directory, inputs, digest, step.section, tracking)
        try:
            if stage_class(stage).own_process(step.section) and not in_process:
                _run_in_process_of_its_own(stage, config, work)
            else:
                execute(stage, config, work)
        except UserError:
            if not _worth_keeping(directory):  # bad input leaves nothing behind
                store.discard(stage, digest)
            raise
        wall_s = time.monotonic() - started
        store.finish(step.key, stage_class(stage).version, step.section, wall_s)
    return Outcome(step, directory, ran=True, wall_s=wall_s)


def _worth_keeping(directory: Path) -> bool:
    """Whether an unfinished stage has a checkpoint or a committed block to continue from."""
    return any(any(directory.rglob(pattern)) for pattern in ("*.ckpt", "*-[0-9][0-9][0-9][0-9][0-9].jsonl"))


def execute(stage: str, config: Config, work: Work) -> None:
    """Parse the section, construct the stage and run it in this process."""
    from domino_lightning.progress import silence_advice
    from domino_lightning.tracking import log_outputs, stage_run

    silence_advice()
    instance = construct(stage, config)
    work = replace(work, run=stage_run(work, stage))
    try:
        instance.run(work)
    except BaseException:
        if work.run is not None:  # or the next stage's run would find this one open
            work.run.finish(exit_code=1)
        raise
    log_outputs(work, stage)


def _run_in_process_of_its_own(stage: str, config: Config, work: Work) -> None:
    """Run a stage as `python -m domino_lightning.stages.process JOB`, on a literal job file.

    Training under DDP re-executes its command line on every rank, so that line must hold all there is to know.
    """
    job = work.scratch / "job.json"
    write_json(
        job,
        {
            "stage": stage,
            "document": config.document,
            "directory": str(work.directory.resolve()),
            "inputs": {name: str(path.resolve()) for name, path in work.inputs.items()},
            "fingerprint": work.fingerprint,
            "tracking": vars(work.tracking) | {"root": str(Path(work.tracking.root).resolve())},
        },
    )
    command = [sys.executable, "-m", "domino_lightning.stages.process", str(job.resolve())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except BaseException:
        _stop(process)
        raise
    if code == 0:
        return
    error_path = work.directory / ERROR_FILE
    if error_path.is_file():
        error = read_json(error_path)
        raise (UserError if error["kind"] == "user" else StageFailed)(error["message"])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise StageFailed(
        f"stage {stage} ended with {how} before it finished. Its last words are above; "
        f"the same command continues it. Directory: {work.directory}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let a child that shares our terminal's Ctrl-C end by itself, then kill it."""
    try:
        process.wait(timeout=5)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
