"""Two trials or stages side by side: keys that differ, stages they share, their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.results.runs import open_run
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.store.store import MANIFEST, altered, lineage, read_manifest

ABSENT = "–"
PLACE = ("root", "name")  # say where results lie, not what they are


@dataclass(frozen=True)
class Side:
    """What is compared: dotted keys of the configuration, fingerprints of stages, numbers."""

    path: Path
    keys: Mapping[str, Any]
    stages: Mapping[str, str]
    metrics: Mapping[str, float]
    damage: tuple[str, ...] = ()  # what cannot be trusted, and is left out


@dataclass(frozen=True)
class Difference:
    """Rows of a comparison.

    Attributes:
        keys: (key, value in a, value in b) of the keys that differ.
        stages: (stage, fingerprint in a, fingerprint in b) of all stages.
        metrics: (name, value in a, value in b), None where one has no such number.
    """

    keys: list[tuple[str, Any, Any]]
    stages: list[tuple[str, str, str]]
    metrics: list[tuple[str, float | None, float | None]]


def read_side(path: Path) -> Side:
    """A trial's directory `runs/<experiment>/<trial>`, or a stage's, in the store or through a trial's link.

    Raises:
        UserError: it is neither.
    """
    if (path / "trial.json").is_file():
        run = open_run(path)
        document = {key: value for key, value in run.config.items() if key not in PLACE}
        metrics = run.metrics
        return Side(path, dict(flattened(document)), run.trial["stages"], metrics, tuple(run.damage.values()))
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        if manifest is None:
            raise UserError(f"{path / MANIFEST} is damaged; the stage has to run again.")
        found = lineage(path.resolve())
        sections = {stage: each.get("config", {}) for stage, each in found.items()}
        stages = {stage: str(each["fingerprint"]) for stage, each in found.items()}
        damage = tuple(altered(path, manifest))
        metrics = {} if damage else stage_class(manifest["stage"]).metrics(path)
        return Side(path, dict(flattened(sections)), stages, metrics, damage)
    raise UserError(
        f"{path}: neither a trial (trial.json) nor a finished stage ({MANIFEST}). Name runs/<experiment>/<trial>, or "
        "a stage in it; `domino ls` lists trials."
    )


def compare(a: Side, b: Side) -> Difference:
    """What differs, in the order of a's configuration, then b's."""
    keys = [
        (key, a.keys.get(key, ABSENT), b.keys.get(key, ABSENT))
        for key in dict.fromkeys([*a.keys, *b.keys])
        if key not in a.keys or key not in b.keys or a.keys[key] != b.keys[key]
    ]
    stages = [
        (name, a.stages.get(name, ABSENT), b.stages.get(name, ABSENT))
        for name in STAGES
        if name in a.stages or name in b.stages
    ]
    names = dict.fromkeys([*a.metrics, *b.metrics])
    return Difference(keys, stages, [(name, a.metrics.get(name), b.metrics.get(name)) for name in names])


def flattened(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is one value, and so is an empty mapping."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from flattened(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
