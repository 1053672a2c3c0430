"""Offline runs of a store that was moved or copied: where the files of their artifacts lie now."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domino_lightning.tracking.records import parsed, raw_records, write_records

log = logging.getLogger(__name__)

_PLACES = ("stages", "wandb", "sweeps", "runs")  # of a store, below which files of artifacts lie


def relocate(path: Path, root: Path) -> int:
    """Point a `.wandb` file's artifacts to where their files are below `root`; how many entries were changed.

    W&B keeps absolute paths. One that leads nowhere is looked for at the same place of this store; what is not there
    either is said, and W&B will leave it out.
    """
    records = list(raw_records(path))
    changed, gone = 0, []
    for number, raw in enumerate(records):
        record, before = parsed(raw), changed
        for entry in entries(record):
            if not entry.local_path or Path(entry.local_path).exists():
                continue
            found = _below(Path(entry.local_path), root)
            if found is None:
                gone.append(entry.local_path)
            else:
                entry.local_path, changed = str(found), changed + 1
        if changed > before:
            records[number] = record.SerializeToString()
    if gone:
        log.warning("W&B: %s: %d files of its artifacts are gone, the first: %s.", path.parent, len(gone), gone[0])
    if changed:
        write_records(path, records)
    return changed


def entries(record: Any) -> Iterator[Any]:
    """The entries of the artifact that a record logs."""
    if record.HasField("artifact"):
        yield from record.artifact.manifest.contents
    elif record.HasField("request") and record.request.HasField("log_artifact"):
        yield from record.request.log_artifact.artifact.manifest.contents


def _below(path: Path, root: Path) -> Path | None:
    """The file at the same place of a store; the longest such place, since the old root may hold these names too."""
    for index, part in enumerate(path.parts):
        if part in _PLACES and (found := root.resolve().joinpath(*path.parts[index:])).is_file():
            return found
    return None
