"""Stages that nothing refers to: found from the trials and sweeps of a store, and deleted when asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domino_lightning.errors import Busy, UserError
from domino_lightning.stages import STAGES
from domino_lightning.store.store import Store, lineage
from domino_lightning.utils.jsonl import read_object

RECENT_S = 24 * 3600  # an unfinished stage that was written to since then may still be continued
WRITING_S = 3600  # no file takes longer to be written: its writer was killed
StageId = tuple[str, str]  # stage, fingerprint


@dataclass(frozen=True)
class Garbage:
    """A stage's directory that can go: its size, and the age of its newest file."""

    stage: str
    fingerprint: str
    path: Path
    finished: bool
    bytes: int
    age_s: float


def find_garbage(store: Store) -> list[Garbage]:
    """Stages that no trial and no sweep names, and none of those rests on.

    One that a process holds is left out, and so is an unfinished one that was written to within a day.

    Raises:
        UserError: no store there, or a trial whose record cannot be read: what it names is not known.
    """
    if not (store.root / "stages").is_dir():
        raise UserError(f"{store.root}: no store here (it would have a directory 'stages').")
    kept = referenced(store)
    now = time.time()
    found: list[Garbage] = []
    for stage in STAGES:
        for path in sorted((store.root / "stages" / stage).glob("[!.]*")):
            if not path.is_dir() or (stage, path.name) in kept:
                continue
            finished = store.finished(stage, path.name)
            stats = [file.lstat() for file in [path, *path.rglob("*")]]
            age = now - max(stat.st_mtime for stat in stats)
            if (finished or age > RECENT_S) and not store.busy(stage, path.name):
                size = sum(stat.st_size for stat in stats)
                found.append(Garbage(stage, path.name, path, finished, size, age))
    return found


def find_temporaries(store: Store) -> list[Path]:
    """Files that a killed process left half-written under a temporary name, `.<name>.<...>.tmp`."""
    now = time.time()
    places = (store.root / name for name in ("stages", "runs", "sweeps"))
    found = (path for place in places for path in place.rglob(".*.tmp"))
    return sorted(path for path in found if not path.is_dir() and now - path.lstat().st_mtime > WRITING_S)


def referenced(store: Store) -> set[StageId]:
    """The stages that trials and sweeps name, and those that these rest on."""
    named: set[StageId] = set()
    for path in store.root.glob("runs/*/*/trial.json"):
        named.update(_stages(path, [read_object(path)]))
    for path in store.root.glob("sweeps/*/trials.json"):
        named.update(_stages(path, read_object(path).get("trials", [])))
    kept = set(named)
    for stage, digest in named:
        for name, manifest in lineage(store.path(stage, digest)).items():
            kept.add((name, str(manifest["fingerprint"])))
    return kept


def _stages(path: Path, records: Sequence[object]) -> Iterator[StageId]:
    for record in records:
        stages = record.get("stages") if isinstance(record, dict) else None
        if not isinstance(stages, dict):
            raise UserError(f"{path}: names no stages, so what it needs is not known. Mend or remove it first.")
        yield from stages.items()


def delete(store: Store, garbage: Sequence[Garbage]) -> list[Garbage]:
    """Delete stages, and give those that are gone; what was taken up meanwhile stays."""
    kept = referenced(store)
    gone: list[Garbage] = []
    for each in garbage:
        step = each.stage, each.fingerprint
        try:
            with store.lock(*step, wait=False):
                if step in kept:
                    continue
                store.discard(*step)
                each.path.with_name(f".{each.fingerprint}.job.json").unlink(missing_ok=True)
        except Busy:
            continue
        gone.append(each)
    return gone
