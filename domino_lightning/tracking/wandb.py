"""W&B: one run per executed stage, one per trial; everything works offline, and CSV is written besides."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.utils.jsonl import read_json, read_jsonl, sha256_file, sha256_text
from domino_lightning.stages.base import Tracking, Work
from domino_lightning.store.store import SCRATCH

log = logging.getLogger(__name__)

SAMPLE_ROWS = 24
SAMPLE_FIELDS = ("id", "text", "reason", "detail", "screen", "output")
SAMPLES = {  # stage → what the rows are, and their file
    "synthesize": ("raw", "raw-00000.jsonl"),
    "curate": ("rejected", "rejected.jsonl"),
    "answer": ("answered", "answered.jsonl"),
}
ARTIFACTS = {  # stage → type of the artifact that holds its files
    "prepare": "corpus",
    "tune": "soft_prompt",
    "synthesize": "corpus",
    "curate": "corpus",
    "answer": "corpus",
    "finetune": "coder",
}
MAX_ARTIFACT_FILE = 512 * 2**20  # bytes; a whole model stays in the store, its coder.json names it
_ARTIFACT_NAME = re.compile(r"[^\w.-]+")


def start_run(tracking: Tracking, run_id: str, name: str, job_type: str, config: Mapping[str, Any]) -> Any:
    """A W&B run, or None when tracking is disabled, W&B fails, or this is not the first rank."""
    if tracking.wandb == "disabled" or int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return None
    import wandb

    folder = Path(tracking.root)  # W&B makes a directory wandb/ in it
    folder.mkdir(parents=True, exist_ok=True)
    mode: Any = tracking.wandb
    if mode == "online" and not has_api_key():
        log.warning("W&B: no API key, so this run is kept offline; `domino wandb-sync --root %s` uploads it.", folder)
        mode = "offline"
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True)
    try:
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
            settings=settings,
        )
    except wandb.Error as error:
        _warn(error)
        return None


def has_api_key() -> bool:
    """Whether W&B has an API key, from the environment or from `wandb login`."""
    import wandb

    return bool(os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False, verify=False))


def _warn(error: Exception) -> None:
    """A tracker that fails costs its charts, never the stage: CSV and JSON in the store hold the numbers."""
    log.warning("W&B: %s: %s. This run is not tracked; its numbers are in the store.", type(error).__name__, error)


def stage_run(work: Work, stage: str) -> Any:
    """The W&B run of a stage that executes now; its id is the fingerprint, its lineage lies in the config.

    `inputs` names the runs of the stages it reads, `lineage` the artifacts among their outputs. W&B takes a
    declaration of use online only; `domino wandb-sync` repeats it for runs that were offline.
    """
    inputs = {name: path.name for name, path in work.inputs.items()}
    lineage = [artifact_name(name, digest) for name, digest in inputs.items() if name in ARTIFACTS]
    config = {"section": dict(work.section), "inputs": inputs, "lineage": lineage}
    run = start_run(work.tracking, work.fingerprint, f"{stage}-{work.fingerprint[:8]}", stage, config)
    if run is not None and lineage and not run.offline:
        import wandb

        for name in lineage:
            try:
                run.use_artifact(f"{name}:latest")
            except (wandb.Error, ValueError) as error:
                log.warning("W&B: %s, which this run reads, is not there to be linked (%s).", name, error)
    return run


def artifact_name(stage: str, fingerprint: str) -> str:
    """The artifact that holds a stage's output."""
    return f"{stage}-{fingerprint}"


def lightning_loggers(work: Work) -> list[Any]:
    """Loggers of a training stage: metrics.csv always, and the stage's W&B run if there is one."""
    from domino_lightning.tracking.loggers import LongCsvLogger

    loggers: list[Any] = [LongCsvLogger(work.directory / "metrics.csv")]
    if work.run is not None:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(experiment=work.run))
    return loggers


def log_outputs(work: Work, stage: str) -> None:
    """Put a finished stage's numbers, samples and artifacts into its W&B run and end the run."""
    if work.run is None:
        return
    import wandb

    try:
        work.run.summary.update(stage_metrics(stage, work.directory))
        key, samples = stage_samples(stage, work)
        if samples:
            columns: list[str | int] = list(samples[0])
            data = [[row[str(name)] for name in columns] for row in samples]
            work.run.log({key: wandb.Table(columns=columns, data=data)})
        if stage in ARTIFACTS:
            work.run.log_artifact(_artifact(work, stage))
        work.run.finish()
    except (wandb.Error, OSError, ValueError) as error:
        _warn(error)


def _artifact(work: Work, stage: str) -> Any:
    """The stage's files, in place: finished stages never change, so no copy waits for the upload."""
    import wandb

    artifact = wandb.Artifact(artifact_name(stage, work.fingerprint), type=ARTIFACTS[stage])
    for path in sorted(work.directory.resolve().rglob("*")):
        parts = path.relative_to(work.directory.resolve()).parts
        hidden = any(part.startswith(".") or part == SCRATCH for part in parts)
        if path.is_file() and not hidden and path.stat().st_size <= MAX_ARTIFACT_FILE:
            artifact.add_file(str(path), name="/".join(parts), policy="immutable")
    return artifact


def log_trial(tracking: Tracking, record: Mapping[str, Any], stages: Mapping[str, Path]) -> None:
    """The W&B run of a trial: axes as config, final metrics as summary, ids of its stage runs.

    Args:
        tracking: the group is the experiment or the sweep.
        record: content of `trial.json`; its axes are those of the sweep, or the `overrides` where it is in none.
        stages: directories of the finished stages.
    """
    identity = trial_id(record)
    config = {"overrides": record["overrides"], "stage_runs": record["stages"], "trial": record["trial"]}
    config |= {name: record[name] for name in ("arm", "seed") if name in record}
    axes = (
        {name: axis_value(record, name) for name in record["axes"]}
        if "axes" in record
        else axes_of(record["overrides"])
    )
    config |= {axis_key(key): value for key, value in axes.items()}
    run = start_run(tracking, identity, f"{record['experiment']}/{record['trial']}", "trial", config)
    if run is None:
        return
    import wandb

    try:
        for stage, directory in stages.items():
            run.summary.update(stage_metrics(stage, directory))
        run.finish()
    except (wandb.Error, OSError) as error:
        _warn(error)


def trial_id(record: Mapping[str, Any]) -> str:
    """The W&B run id of a trial: the same name with other stages is another run."""
    return sha256_text(f"{record['experiment']}/{record['trial']}/{sorted(record['stages'].items())}")[:16]


def log_trials(root: Path, trials: Iterable[tuple[Tracking, Mapping[str, Any], Path]]) -> int:
    """Log finished trials of a sweep that have no W&B run below `root` yet; the number that were logged.

    Args:
        root: the store.
        trials: of each, where it is logged, its `trial.json`, and its directory with links to its stages.
    """
    logged = 0
    for tracking, record, folder in trials:
        if record["status"] == "finished" and not any(root.glob(f"wandb/*run-*-{trial_id(record)}")):
            log_trial(tracking, record, {name: folder / name for name in record["stages"]})
            logged += 1
    return logged


def axis_value(record: Mapping[str, Any], axis: str) -> Any:
    """A trial's number on an axis of its sweep, or its label; None where the axis does not apply."""
    value = record["values"].get(axis)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number else record["axes"].get(axis)


def axes_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The values that overrides `dotted.key=value` set, as YAML reads them; the last one of a key counts."""
    import yaml

    axes: dict[str, Any] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        try:
            axes[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            axes[key] = value
    return axes


def axis_key(key: str) -> str:
    """An axis in a run's config: W&B takes a dot for nesting and cannot chart by it."""
    return "axes/" + key.replace(".", "/")


def log_report(tracking: Tracking, files: Sequence[Path]) -> None:
    """A W&B run of job type `report` with the report's files as an artifact; the same files are logged once."""
    digest = sha256_text(" ".join(sha256_file(path) for path in files))[:16]
    if any(Path(tracking.root).glob(f"wandb/*run-*-{digest}")):
        return
    run = start_run(tracking, digest, f"report-{tracking.group}", "report", {})
    if run is None:
        return
    import wandb

    try:
        artifact = wandb.Artifact(f"report-{_ARTIFACT_NAME.sub('-', tracking.group)}", type="report")
        for path in files:
            artifact.add_file(str(path.resolve()))
        run.log_artifact(artifact)
        run.finish()
    except (wandb.Error, OSError, ValueError) as error:
        _warn(error)


def stage_metrics(stage: str, directory: Path) -> dict[str, float]:
    """The final numbers of a finished stage as `<stage>/<split>/<name>`."""
    metrics: dict[str, float] = {}
    if (path := directory / "splits.json").is_file():
        metrics |= {f"prepare/{split}/rows": count for split, count in read_json(path)["rows"].items()}
    if (path := directory / "synthesis.json").is_file():
        summary = read_json(path)
        metrics |= {f"synthesize/raw/{name}": summary[name] for name in ("candidates", "screened_in", "tokens")}
    if (path := directory / "funnel.json").is_file():
        funnel = read_json(path)
        metrics |= {f"curate/rejected/{step['filter']}": step["rejected"] for step in funnel["steps"]}
        metrics["curate/accepted/rows"] = funnel["accepted"]
    if (path := directory / "answers.json").is_file():
        metrics["answer/pairs/rows"] = read_json(path)["answered"]
    if (path := directory / "corpus.json").is_file():
        for name, found in read_json(path)["measures"].items():
            values = {f"answer/pairs/{name}": found["value"], f"answer/heldout/{name}": found["floor_value"]}
            metrics |= {key: value for key, value in values.items() if value is not None}
    if (path := directory / "coder.json").is_file():
        coder = read_json(path)
        metrics |= {"finetune/train/steps": coder["steps"], "finetune/train/pairs": coder["pairs"]}
    if (path := directory / "metrics.json").is_file():
        metrics |= read_json(path)
    for name in ("metrics.csv", "speed.csv"):
        if (path := directory / name).is_file():
            metrics |= _last_values(path)
    return metrics


def _last_values(path: Path) -> dict[str, float]:
    import csv

    values: dict[str, float] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values[row["key"]] = float(row["value"])
            if row["key"].endswith("heldout/nll"):
                best = f"{row['key']}_best"
                values[best] = min(values.get(best, float("inf")), float(row["value"]))
    return values


def stage_samples(stage: str, work: Work) -> tuple[str, list[dict[str, str]]]:
    """The key and the rows of a stage's table of samples; no rows for a stage that writes no texts."""
    if stage == "evaluate":
        verdicts = {row["id"]: row["verdicts"] for row in _head(work.directory / "verdicts.jsonl", None)}
        rows = [
            {"id": row["id"], "completion": row["completions"][0], **_first(verdicts.get(row["id"]))}
            for row in _head(work.directory / "generations.jsonl", SAMPLE_ROWS)
        ]
        return "evaluate/test/samples", rows
    if stage not in SAMPLES:
        return "", []
    split, file = SAMPLES[stage]
    found = _head(work.directory / file, SAMPLE_ROWS)
    names = [name for name in SAMPLE_FIELDS if any(name in row for row in found)]
    return f"{stage}/{split}/samples", [{name: str(row.get(name, "")) for name in names} for row in found]


def _first(verdicts: list[dict[str, Any]] | None) -> dict[str, str]:
    verdict = verdicts[0] if verdicts else {}
    return {name: str(verdict.get(name, "")) for name in ("status", "detail")}


def _head(path: Path, count: int | None) -> list[dict[str, Any]]:
    return read_jsonl(path)[:count] if path.is_file() else []
