"""W&B: one run per executed stage, one per trial; everything works offline, and CSV is written besides."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from domino_lightning.config.layers import lookup, one_line, override_layer
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.store.work import Work
from domino_lightning.tracking.artifacts import code_artifact, stage_artifact
from domino_lightning.tracking.metrics_file import METRICS, SPEED, Metric, read_metrics, steps_of
from domino_lightning.tracking.tags import MAX_TAG, note_tags
from domino_lightning.utils.jsonl import sha256_file, sha256_text
from domino_lightning.utils.masking import masked, masked_override
from domino_lightning.utils.ranks import rank

log = logging.getLogger(__name__)

STEP = "trainer/global_step"  # what Lightning's logger counts optimizer steps as: the x axis of every curve
DATA_DIR = "WANDB_DATA_DIR"  # where W&B keeps copies of what an artifact holds until it is uploaded
_GIVEN_DATA_DIR = os.environ.get(DATA_DIR)
_ARTIFACT_NAME = re.compile(r"[^\w.-]+")


def start_run(tracking: Tracking, run_id: str, name: str, job_type: str, config: Mapping[str, Any]) -> Any:
    """A W&B run, or None when tracking is disabled, W&B fails in whatever way, or this is not the first rank."""
    if tracking.wandb == "disabled" or rank() > 0:
        return None
    folder = Path(tracking.root)  # W&B makes a directory wandb/ in it
    with Forgiven(once=f"to start a run in {folder.resolve()}"):
        import wandb

        logging.getLogger("wandb").setLevel(logging.CRITICAL)  # what it raises is told below, without a traceback
        folder.mkdir(parents=True, exist_ok=True)
        # Within the store, so that a store that is moved or copied takes along what is not uploaded yet.
        os.environ[DATA_DIR] = _GIVEN_DATA_DIR or str((folder / "wandb").resolve())
        mode: Any = tracking.wandb
        if mode == "online" and not has_api_key():
            remedy = f"`domino wandb-sync --root {folder}` uploads it"
            log.warning("W&B: no API key, so this run is kept offline; %s.", remedy)
            mode = "offline"
        whole = _shows_system(tracking, mode == "offline")
        settings = wandb.Settings(
            silent=True, console="wrap" if whole else "off", x_disable_stats=not whole, disable_git=not whole
        )
        return wandb.init(
            entity=tracking.entity or None,
            project=tracking.project,
            group=tracking.group,
            job_type=job_type,
            id=run_id,
            name=name,
            dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            config=dict(config),
            tags=[tag_of(text) for text in tracking.tags] or None,
            settings=settings,
        )
    return None


def _shows_system(tracking: Tracking, offline: bool) -> bool:
    """Whether a run shows the load of the machine, what is printed, the commit and the code of forks."""
    return tracking.system == "always" or (tracking.system == "auto" and not offline)


def tag_of(text: str) -> str:
    """A tag as W&B takes it: a longer one is cut and ends in a hash."""
    return text if len(text) <= MAX_TAG else f"{text[: MAX_TAG - 9]}-{sha256_text(text)[:8]}"


def sweep_tags(sweep: str, arms: Iterable[str]) -> tuple[str, ...]:
    """The tags of a stage that a sweep's arms use."""
    return (f"sweep:{sweep}", *(f"arm:{arm}" for arm in dict.fromkeys(arms)))


def chart_by_step(run: Any, keys: Sequence[str]) -> None:
    """Draw curves over optimizer steps, where W&B would count everything that was logged: tables, looks, numbers.

    Args:
        run: a W&B run.
        keys: prefixes of what is logged by step.
    """
    with Forgiven():
        run.define_metric(STEP, hidden=True)
        for key in keys:
            run.define_metric(f"{key}/*", step_metric=STEP)


def has_api_key() -> bool:
    """Whether W&B has an API key, from the environment or from `wandb login`."""
    import wandb

    return bool(os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False, verify=False))


class Forgiven:
    """A context in which what W&B raises costs a warning, never the stage: the store holds the numbers.

    Args:
        once: what is tried; the same kind of error in trying it again is not said again by this process.
    """

    told: ClassVar[set[tuple[str, type[BaseException]]]] = set()

    def __init__(self, once: str = "") -> None:
        self.once = once

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        """Its own errors, those of its settings, its process, the network and the disk; not Ctrl-C."""
        if not isinstance(error, Exception):
            return False
        key = (self.once, type(error))
        if key not in self.told:
            log.warning(
                "W&B: %s: %s. What is logged from here on is not tracked; its numbers are in the store. "
                "tracking.wandb=disabled turns W&B off.",
                type(error).__name__,
                one_line(error),
            )
        if self.once:
            self.told.add(key)
        return True


def stage_run(work: Work, stage: str, lineage: Sequence[str]) -> Any:
    """The W&B run of a stage that executes now; its id is the fingerprint, its lineage lies in the config.

    `inputs` names the runs of the stages it reads, `lineage` the artifacts among their outputs. W&B takes a
    declaration of use online only; `domino wandb-sync` repeats it for runs that were offline.

    Args:
        work: of the stage.
        stage: its name.
        lineage: names of the artifacts that it reads.
    """
    inputs = {name: path.name for name, path in work.inputs.items()}
    config = {"section": masked(work.section), "inputs": inputs, "lineage": list(lineage)}
    run = start_run(work.tracking, work.fingerprint, f"{stage}-{work.fingerprint[:8]}", stage, config)
    if run is not None:
        if "trainer" in work.section:
            chart_by_step(run, [stage])
        with Forgiven():
            note_tags(work.tracking, work.fingerprint, list(map(tag_of, work.tracking.tags)), begun=True)
            if _shows_system(work.tracking, run.offline) and (code := code_artifact(work)) is not None:
                run.log_artifact(code)
    if run is not None and lineage and not run.offline:
        for name in lineage:
            try:
                run.use_artifact(f"{name}:latest")
            except Exception as error:
                log.warning("W&B: %s, which this run reads, is not there to be linked (%s).", name, error)
    return run


@dataclass(frozen=True)
class Outputs:
    """What a finished stage shows of itself.

    Args:
        metrics: final numbers by key.
        samples_key: of the table of samples.
        samples: its rows, all with the same columns; none for a stage that writes no texts.
        artifact: type of the artifact that holds its files; empty: it has none.
    """

    metrics: Mapping[str, float]
    samples_key: str
    samples: Sequence[Mapping[str, str]]
    artifact: str


def log_outputs(work: Work, stage: str, outputs: Outputs) -> None:
    """Put a finished stage's numbers, samples and artifact into its W&B run and end the run."""
    with Forgiven():
        import wandb

        work = replace(work, run=_in_one_piece(work, stage))
        work.run.summary.update(dict(outputs.metrics))
        if outputs.samples:
            work.run.log({outputs.samples_key: _table(wandb, outputs.samples)})
        if outputs.artifact:
            work.run.log_artifact(stage_artifact(work, stage, outputs.artifact))
        work.run.finish()


def _in_one_piece(work: Work, stage: str) -> Any:
    """The stage's run. Where kills left it in several pieces offline, a new one that holds every step once.

    Each start of a stage begins a run of the same id at W&B step 0, and what was logged after the last checkpoint is
    logged again. metrics.csv has all of it, so the whole run is written from there and replaces the pieces; times of
    its steps are those of the writing. What has been uploaded already is left alone.
    """
    run = work.run
    pieces = list(Path(work.tracking.root).glob(f"wandb/offline-run-*-{work.fingerprint}"))
    if not run.offline or len(pieces) < 2:
        return run
    if any(list(piece.glob("*.synced")) for piece in pieces):
        log.warning("W&B: the run %s was uploaded before it had ended, and stays in %d pieces.", run.id, len(pieces))
        return run
    run.finish()
    whole = stage_run(work, stage, list(run.config["lineage"]))
    if whole is None:
        return run
    rows = [row for name in (METRICS, SPEED) for row in read_metrics(work.directory, name)]
    for step, values in steps_of(rows).items():
        whole.log({**values, STEP: step})
    for piece in set(pieces) - {Path(whole.dir).parent}:
        shutil.rmtree(piece)
    return whole


@dataclass(frozen=True)
class TrialLog:
    """What the stages of a trial have to show.

    Args:
        metrics: final numbers by key.
        curves: what its training stages logged.
        samples: tables of samples by key.
        document: the resolved experiment.
    """

    metrics: Mapping[str, float]
    curves: Sequence[Metric] = ()
    samples: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)


def log_trial(tracking: Tracking, record: Mapping[str, Any], axes: Mapping[str, Any], shown: TrialLog) -> None:
    """The W&B run of a trial: axes as config, curves by optimizer step, samples, final metrics as summary.

    So arms and seeds can be told apart where stages are shared between them. A trial that failed is a failed run,
    with its last error in the config.

    Args:
        tracking: the group is the experiment or the sweep, tags are those of the trial.
        record: content of `trial.json`.
        axes: its values on the axes of its sweep; where it is in none, what its overrides set.
        shown: by its stages.
    """
    overrides = [masked_override(text) for text in record["overrides"]]
    config = {"overrides": overrides, "stage_runs": record["stages"], "trial": record["trial"]}
    config |= {name: record[name] for name in ("arm", "seed", "error") if name in record}
    config |= {axis_key(key): value for key, value in masked(axes).items()}
    config |= {"experiment": masked(shown.document)} if shown.document else {}
    failed = record.get("status") == "failed"
    name = f"{record['experiment']}/{record['trial']}" + (" (failed)" if failed else "")
    run = start_run(tracking, trial_id(record), name, "trial", config)
    if run is None:
        return
    with Forgiven():
        import wandb

        steps = steps_of(shown.curves)
        chart_by_step(run, sorted({key.partition("/")[0] for values in steps.values() for key in values}))
        for step, values in steps.items():
            run.log({**values, STEP: step})
        for key, rows in shown.samples.items():
            if rows:
                run.log({key: _table(wandb, rows)})
        run.summary.update(dict(shown.metrics))
        run.finish(exit_code=int(failed))


def _table(wandb: Any, rows: Sequence[Mapping[str, str]]) -> Any:
    columns = list(rows[0])
    return wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in rows])


def trial_id(record: Mapping[str, Any]) -> str:
    """The W&B run id of a trial: the same name with other stages is another run, and so is one that failed before."""
    failed = "/failed" if record.get("status") == "failed" else ""
    return sha256_text(f"{record['experiment']}/{record['trial']}/{sorted(record['stages'].items())}{failed}")[:16]


def is_logged(root: Path, run_id: str) -> bool:
    """Whether a W&B run of this id lies below a store."""
    return any(root.glob(f"wandb/*run-*-{run_id}"))


def axes_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The values that overrides `dotted.key=value` set, as a run has them; the last one of a key counts."""
    axes: dict[str, Any] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        try:
            axes[key] = lookup(override_layer(text).tree, key)
        except UserError:
            axes[key] = value
    return axes


def axis_key(key: str) -> str:
    """An axis in a run's config: W&B takes a dot for nesting and cannot chart by it."""
    return "axes/" + key.replace(".", "/")


def log_report(tracking: Tracking, files: Sequence[Path]) -> None:
    """A W&B run of job type `report` with the report's files as an artifact; the same files are logged once."""
    digest = sha256_text(" ".join(sha256_file(path) for path in files))[:16]
    if is_logged(Path(tracking.root), digest):
        return
    run = start_run(tracking, digest, f"report-{tracking.group}", "report", {})
    if run is None:
        return
    with Forgiven():
        import wandb

        artifact = wandb.Artifact(f"report-{_ARTIFACT_NAME.sub('-', tracking.group)}", type="report")
        for path in files:
            artifact.add_file(str(path.resolve()))
        run.log_artifact(artifact)
        run.finish()
