"""W&B: one run per executed stage, one per trial; everything works offline, and CSV is written besides."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domino_lightning.records import read_json, read_jsonl, sha256_text
from domino_lightning.stages.base import Tracking, Work

log = logging.getLogger(__name__)

SAMPLE_ROWS = 24


def start_run(tracking: Tracking, run_id: str, name: str, job_type: str, config: Mapping[str, Any]) -> Any:
    """A W&B run, or None when tracking is disabled or this is not the first rank."""
    if tracking.wandb == "disabled" or int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return None
    import wandb

    folder = Path(tracking.root)  # W&B makes a directory wandb/ in it
    folder.mkdir(parents=True, exist_ok=True)
    mode: Any = tracking.wandb
    if mode == "online" and not (os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
        log.warning("W&B: no API key, so this run is kept offline in %s/wandb; upload it with `wandb sync`.", folder)
        mode = "offline"
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True)
    return wandb.init(
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


def stage_run(work: Work, stage: str) -> Any:
    """The W&B run of a stage that executes now; its id is the fingerprint, its lineage lies in the config."""
    config = {"section": dict(work.section), "inputs": {name: path.name for name, path in work.inputs.items()}}
    return start_run(work.tracking, work.fingerprint, f"{stage}-{work.fingerprint[:8]}", stage, config)


def lightning_loggers(work: Work) -> list[Any]:
    """Loggers of a training stage: metrics.csv always, and the stage's W&B run if there is one."""
    from domino_lightning.csv_logger import LongCsvLogger

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

    work.run.summary.update(stage_metrics(stage, work.directory))
    samples = _samples(stage, work.directory)
    if samples:
        columns: list[str | int] = list(samples[0])
        data = [[str(row.get(str(name), "")) for name in columns] for row in samples]
        table = wandb.Table(columns=columns, data=data)
        work.run.log({f"{stage}/samples": table})
    if stage in {"tune", "prepare", "answer"}:
        artifact = wandb.Artifact(f"{stage}-{work.fingerprint}", type={"tune": "soft_prompt"}.get(stage, "corpus"))
        for path in sorted(work.directory.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                artifact.add_file(str(path))
        work.run.log_artifact(artifact)
    work.run.finish()


def log_trial(tracking: Tracking, record: Mapping[str, Any], stages: Mapping[str, Path]) -> None:
    """The W&B run of a trial: overrides as config, final metrics as summary, ids of its stage runs."""
    identity = sha256_text(f"{record['experiment']}/{record['trial']}/{sorted(record['stages'].items())}")[:16]
    config = {"overrides": record["overrides"], "stage_runs": record["stages"], "trial": record["trial"]}
    for text in record["overrides"]:
        key, _, value = text.partition("=")
        config[f"axes/{key}"] = value
    run = start_run(tracking, identity, f"{record['experiment']}/{record['trial']}", "trial", config)
    if run is None:
        return
    for stage, directory in stages.items():
        run.summary.update(stage_metrics(stage, directory))
    run.finish()


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
    if (path := directory / "coder.json").is_file():
        coder = read_json(path)
        metrics |= {"finetune/train/steps": coder["steps"], "finetune/train/pairs": coder["pairs"]}
    if (path := directory / "metrics.json").is_file():
        metrics |= read_json(path)
    if (path := directory / "metrics.csv").is_file():
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


def _samples(stage: str, directory: Path) -> list[dict[str, Any]]:
    files = {"synthesize": "raw-00000.jsonl", "curate": "rejected.jsonl", "answer": "answered.jsonl"}
    path = directory / files.get(stage, "")
    if not path.is_file():
        return []
    names = ("id", "text", "reason", "detail", "screen", "output")
    return [{name: row[name] for name in names if name in row} for row in read_jsonl(path)[:SAMPLE_ROWS]]
