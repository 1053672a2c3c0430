"""W&B runs that were kept offline: read back from their files, uploaded, and their lineage attached."""

from __future__ import annotations

import json
import logging
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.tracking.wandb import has_api_key
from domino_lightning.utils.jsonl import write_json

log = logging.getLogger(__name__)

# A .wandb file is LevelDB's log: blocks of records with checksum, length and kind, after a header of seven bytes.
_BLOCK, _FILE_HEADER, _RECORD_HEADER = 1 << 15, 7, 7
_FULL, _FIRST, _LAST = 1, 2, 4
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
    exit_code: int | None = None


def offline_runs(root: Path) -> list[Path]:
    """The `.wandb` files below a store that were written offline, oldest first."""
    return sorted(Path(root).glob("wandb/offline-run-*/*.wandb"))


def read_offline_run(path: Path) -> OfflineRun:
    """Read a `.wandb` file; what a killed run left unfinished at its end is passed over."""
    run = OfflineRun(path)
    for record in _records(path):
        if record.HasField("run"):
            head = record.run
            run.run_id, run.name, run.job_type = head.run_id, head.display_name, head.job_type
            run.entity, run.project, run.group = head.entity, head.project, head.run_group
            _update(run.config, head.config.update)
        elif record.HasField("config"):
            _update(run.config, record.config.update)
        elif record.HasField("summary"):
            _update(run.summary, record.summary.update)
        elif record.HasField("history"):
            for item in record.history.item:
                run.history.setdefault(_key(item), []).append(json.loads(item.value_json))
        elif record.HasField("request") and record.request.HasField("log_artifact"):
            artifact = record.request.log_artifact.artifact
            run.artifacts.append((artifact.name, artifact.type))
        elif record.HasField("artifact"):
            run.artifacts.append((record.artifact.name, record.artifact.type))
        elif record.HasField("exit"):
            run.exit_code = record.exit.exit_code
    return run


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    record: Any = vars(wandb_internal_pb2)["Record"]  # a class that protobuf makes at run time
    data, position, parts = path.read_bytes(), _FILE_HEADER, b""
    while position + _RECORD_HEADER <= len(data):
        room = _BLOCK - position % _BLOCK
        if room < _RECORD_HEADER:  # the rest of a block is padding
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        end = position + _RECORD_HEADER + length
        if end > len(data):  # cut off by a kill
            return
        chunk, position = data[position + _RECORD_HEADER : end], end
        parts = chunk if kind in (_FULL, _FIRST) else parts + chunk
        if kind in (_FULL, _LAST):
            yield record.FromString(parts)


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        target[_key(item)] = json.loads(item.value_json)


def sync(root: Path) -> tuple[int, int]:
    """Upload the offline runs of a store through `wandb sync`, then attach the artifacts that they read.

    W&B refuses `use_artifact` offline, so a stage's lineage waits in its config. What has been uploaded or
    attached before is left alone: the same command continues.

    Returns:
        The numbers of runs uploaded now and of artifacts attached now.

    Raises:
        UserError: there is no offline run, or no API key.
        StageFailed: `wandb sync` left a run behind, or an artifact that a run reads is not there.
    """
    files = offline_runs(root)
    if not files:
        raise UserError(f"{root}: no offline W&B runs here (wandb/offline-run-*). Name the store with --root.")
    waiting = [path for path in files if not _synced(path)]
    open_lineage = [path for path in files if not (path.parent / LINEAGE).is_file()]
    if not waiting and not open_lineage:
        return 0, 0
    if not has_api_key():
        raise UserError(f"{root}: {len(waiting)} runs to upload, but {NO_KEY}")
    _upload(waiting)
    left = [path for path in waiting if not _synced(path)]
    uploaded = len(waiting) - len(left)
    attached, missing = attach_lineage([path for path in open_lineage if path not in left])
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
