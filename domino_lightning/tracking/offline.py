"""W&B runs that were kept offline: read back from their files, uploaded, and their lineage attached."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.tracking.records import read_records
from domino_lightning.tracking.relocate import relocate
from domino_lightning.tracking.tags import open_tags, send_tags
from domino_lightning.tracking.wandb import has_api_key
from domino_lightning.utils.jsonl import write_json

log = logging.getLogger(__name__)

LINEAGE = "lineage.json"  # beside a run's .wandb file: the artifacts that have been attached
NO_KEY = (
    "no W&B API key here. Set WANDB_API_KEY or run `wandb login` (with --host for a server of your own); "
    "the runs stay in the store until then."
)


@dataclass
class OfflineRun:
    """What one `.wandb` file holds.

    Attributes:
        history: every value of every key that was logged, in order.
        artifacts: (name, type) of the artifacts that the run made.
        step_metrics: the x axis of each key, or prefix with a star, that has one of its own.
        exit_code: None where the run was killed.
    """

    path: Path
    run_id: str = ""
    name: str = ""
    entity: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[Any]] = field(default_factory=dict)
    artifacts: list[tuple[str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    step_metrics: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None


def offline_runs(root: Path) -> list[Path]:
    """The `.wandb` files below a store that were written offline, oldest first."""
    return sorted(Path(root).glob("wandb/offline-run-*/*.wandb"))


def read_offline_run(path: Path) -> OfflineRun:
    """Read a `.wandb` file; what a killed run left unfinished at its end is passed over."""
    run = OfflineRun(path)
    for record in read_records(path):
        if record.HasField("run"):
            head = record.run
            run.run_id, run.name, run.job_type = head.run_id, head.display_name, head.job_type
            run.entity, run.project, run.group = head.entity, head.project, head.run_group
            run.tags = list(head.tags)
            _update(run.config, head.config.update)
        elif record.HasField("config"):
            _update(run.config, record.config.update)
        elif record.HasField("summary"):
            _update(run.summary, record.summary.update)
        elif record.HasField("history"):
            for item in record.history.item:
                run.history.setdefault(_key(item), []).append(json.loads(item.value_json))
        elif record.HasField("metric"):
            if record.metric.step_metric:
                run.step_metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif record.HasField("request") and record.request.HasField("log_artifact"):
            artifact = record.request.log_artifact.artifact
            run.artifacts.append((artifact.name, artifact.type))
        elif record.HasField("artifact"):
            run.artifacts.append((record.artifact.name, record.artifact.type))
        elif record.HasField("exit"):
            run.exit_code = record.exit.exit_code
    return run


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        target[_key(item)] = json.loads(item.value_json)


def sync(root: Path) -> tuple[int, int]:
    """Upload the offline runs of a store through `wandb sync`, then attach the artifacts that they read, and tags.

    W&B refuses `use_artifact` offline, so a stage's lineage waits in its config. What has been uploaded or
    attached before is left alone: the same command continues.

    Returns:
        The numbers of runs uploaded now and of artifacts attached now.

    Raises:
        UserError: there is no offline run, or no API key.
        StageFailed: `wandb sync` left a run behind, or an artifact that a run reads, or a run to be tagged, is not
            there.
    """
    files, tagged = offline_runs(root), open_tags(root)
    if not files and not tagged:
        raise UserError(f"{root}: no offline W&B runs here (wandb/offline-run-*). Name the store with --root.")
    waiting = [path for path in files if not _synced(path)]
    open_lineage = [path for path in files if not (path.parent / LINEAGE).is_file()]
    if not waiting and not open_lineage and not tagged:
        return 0, 0
    if not has_api_key():
        raise UserError(f"{root}: {len(waiting)} runs to upload, but {NO_KEY}")
    for path in waiting:
        relocate(path, root)
    _upload(waiting)
    left = [path for path in waiting if not _synced(path)]
    uploaded = len(waiting) - len(left)
    attached, missing = attach_lineage([path for path in open_lineage if path not in left])
    untagged = send_tags(root)
    if left:
        raise StageFailed(
            f"wandb sync: {uploaded} of {len(waiting)} runs uploaded; its messages are above. The first that is "
            f"left: {left[0].parent}. The same command continues."
        )
    if missing:
        raise StageFailed(
            f"{len(missing)} artifacts that runs read are not on the server, the first: {missing[0]}. Their stages "
            "were run elsewhere or untracked; sync that store, then give the same command again."
        )
    if untagged:
        raise StageFailed(
            f"{len(untagged)} runs that later sweeps use are not on the server, the first: {untagged[0]}. Their tags "
            "wait; the same command tries again."
        )
    return uploaded, attached


def _synced(path: Path) -> bool:
    """Whether `wandb sync` has uploaded a `.wandb` file: it leaves a marker beside it."""
    return path.with_name(path.name + ".synced").is_file()


def _upload(files: Sequence[Path]) -> None:
    """Runs through wandb's own command, some at a time so that no command line grows too long."""
    for start in range(0, len(files), 100):
        folders = [str(path.parent) for path in files[start : start + 100]]
        subprocess.run([sys.executable, "-m", "wandb", "sync", *folders], check=False)


def attach_lineage(files: Sequence[Path]) -> tuple[int, list[str]]:
    """Declare the use of every artifact in the runs' `lineage`; (declared now, names that are missing)."""
    attached = 0
    missing: list[str] = []
    for path in files:
        run = read_offline_run(path)
        names = run.config.get("lineage") or []
        absent = _declare(run, names) if names else []
        attached += len(names) - len(absent)
        missing += absent
        if not absent:
            write_json(path.parent / LINEAGE, {"run": run.run_id, "artifacts": names})
    return attached, missing


def _declare(run: OfflineRun, names: Sequence[str]) -> list[str]:
    """Tell the server which artifacts an uploaded run read; those that it does not have are returned."""
    import wandb

    api: Any = wandb.Api()
    project = "/".join(filter(None, (run.entity or api.default_entity, run.project)))
    remote = api.run(f"{project}/{run.run_id}")
    absent = []
    for name in names:
        try:
            remote.use_artifact(api.artifact(f"{project}/{name}:latest"))
        except (wandb.Error, ValueError) as error:
            log.warning("W&B: %s, read by %s: %s", name, run.name, error)
            absent.append(name)
    return absent
