"""What a trial of the same name held before: kept under a dated name where a new run would leave it without one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from domino_lightning.errors import UserError
from domino_lightning.store.locks import LOCK
from domino_lightning.store.store import Store
from domino_lightning.utils.jsonl import Record, read_object, write_json

TRIAL = "trial.json"


def earlier_record(folder: Path) -> Record:
    """The record of a trial that was run under this name; empty where there is none that can be read."""
    try:
        record = read_object(folder / TRIAL)
    except UserError:
        return {}
    return record if isinstance(record.get("stages"), dict) else {}


def lost_stages(store: Store, record: Record, stages: Mapping[str, str]) -> dict[str, str]:
    """Stages of an earlier record that are in the store and that a new one, of the given stages, would not name."""
    before = record.get("stages", {})
    return {name: digest for name, digest in before.items()
            if stages.get(name) != digest and store.path(name, digest).is_dir()}  # fmt: skip


def set_aside(folder: Path, record: Record) -> Path:
    """Move a trial's records and links to `<trial>@<when it began>` beside it, and give that folder.

    The lock stays, and `trial.json` goes last: after a kill the same call goes on. Links hold, being relative.
    """
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((folder / TRIAL).stat().st_mtime))
    began = str(record.get("started_at") or written).replace(":", "")
    kept, number = folder.with_name(f"{folder.name}@{began}"), 1
    while (kept / TRIAL).exists():
        number += 1
        kept = folder.with_name(f"{folder.name}@{began}-{number}")
    kept.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in {LOCK, TRIAL} and not path.name.endswith(".tmp"):
            os.replace(path, kept / path.name)
    over = {"status": "interrupted"} if record.get("status") == "running" else {}
    write_json(kept / TRIAL, {**record, **over, "trial": kept.name, "earlier_of": folder.name})
    (folder / TRIAL).unlink()
    return kept
