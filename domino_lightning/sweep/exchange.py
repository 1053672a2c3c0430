"""Results of a sweep's finished trials as small files to be committed, and taken over on another machine.

`DIR/<sweep>/<trial>/` holds `trial.json` (axes, seed, fingerprints of all stages, sha256 of the other two),
`metrics.json` (final numbers of all stages) and `verdicts.jsonl`. A trial that has been imported counts as finished:
its evaluation lies in the store, and stages that nothing else needs are not run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.evaluation.comparison import read_outcomes
from domino_lightning.results.imported import IMPORTED, is_imported
from domino_lightning.results.runs import Run
from domino_lightning.stages import stage_class
from domino_lightning.store.store import Store, read_manifest
from domino_lightning.sweep.graph import Graph, StageId
from domino_lightning.sweep.results import SweepRuns
from domino_lightning.sweep.spec import Sweep
from domino_lightning.utils.jsonl import Record, read_object, sha256_file, write_json

TRIAL, METRICS, VERDICTS = "trial.json", "metrics.json", "verdicts.jsonl"
LAST = "evaluate"
_KEPT = ("trial", "arm", "axes", "values", "seed", "stages", "sweep", "overrides")
_MADE = ("versions", "git_sha")  # what the evaluation was run with
_LISTED = 3


class Exported(NamedTuple):
    """Where results lie, how many trials, and in words which finished ones are not among them."""

    folder: Path
    trials: int
    left_out: list[str]


def export_results(sweep: SweepRuns, target: Path) -> Exported:
    """Write the finished trials of a sweep below `target`; the same trials give the same bytes.

    Raises:
        UserError: no trial has finished.
    """
    folder, left_out, written = target / sweep.path.name, [], 0
    for run in sweep.runs():
        if run.trial["status"] != "finished" or LAST not in run.trial["stages"]:
            continue
        numbers = run.metrics
        if run.damage or not (run.path / LAST / VERDICTS).is_file():
            why = next(iter(run.damage.values()), f"{run.path / LAST / VERDICTS} is not there")
            left_out.append(f"{run.trial['trial']}: {why}")
            continue
        _write(run, numbers, folder / run.path.name)
        written += 1
    if not written:
        reason = f" ({left_out[0]})" if left_out else ""
        raise UserError(f"{sweep.path}: no trial to export: none has finished whole{reason}. Run the sweep first.")
    return Exported(folder, written, left_out)


def _write(run: Run, numbers: Mapping[str, float], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / METRICS, dict(sorted(numbers.items())))
    shutil.copyfile(run.path / LAST / VERDICTS, place / VERDICTS)
    stage = run.path / LAST
    made = read_object(stage / IMPORTED) if is_imported(stage) else read_manifest(stage) or {}
    record = {name: run.trial[name] for name in _KEPT if name in run.trial}
    given = record.get("overrides", [])
    record["overrides"] = [text for text in given if not text.startswith("root=")]  # a place, no setting
    record |= {"status": "finished", **{name: made.get(name) for name in _MADE}}
    write_json(place / TRIAL, {**record, "sha256": {name: sha256_file(place / name) for name in (METRICS, VERDICTS)}})


class Importable(NamedTuple):
    """What lies in a folder of exported results for a sweep: trial → folder, and in words what does not concern it."""

    trials: dict[str, Path]
    strange: list[str]


def check_import(sweep: Sweep, graph: Graph, source: Path) -> Importable:
    """The results below `source` that are of this sweep's trials, every one checked by its fingerprints.

    Raises:
        UserError: no results of a sweep of this name, results of other fingerprints than the trials of these names
            have, or files that are not what they were when they were exported.
    """
    folder = source / sweep.folder.name
    if sweep.until != LAST:
        raise UserError(f"{sweep.path}: --import takes verdicts, and this sweep ends with {sweep.until}. Leave it out.")
    records = sorted(folder.glob(f"*/{TRIAL}"))
    if not records:
        there = ", ".join(sorted(path.name for path in source.glob("*") if any(path.glob(f"*/{TRIAL}")))) or "none"
        raise UserError(f"{folder}: no exported results here (of {source}'s sweeps there are: {there}).")
    found: dict[str, Path] = {}
    strange, wrong = [], []
    for path in records:
        record = read_object(path)
        name = str(record.get("trial"))
        if name not in graph.plans:
            strange.append(name)
        elif differing := _differing(record, graph.plans[name]):
            wrong.append(f"{name}: {differing}")
        else:
            _check_files(path.parent, record)
            found[name] = path.parent
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise UserError(
            f"{folder}: these results are not of this sweep's trials: {'; '.join(wrong[:_LISTED])}{more}. Settings, "
            "data, backbone or code differ from those they were made with: go back to these, or remove the folders."
        )
    return Importable(found, strange)


def _differing(record: Record, plan: Sequence[StageId]) -> str:
    """The first stage whose fingerprint is another one, in words; empty where all are equal."""
    there, here = record.get("stages"), dict(plan)
    if not isinstance(there, dict):
        return "its trial.json names no stages"
    for stage in [*here, *(stage for stage in there if stage not in here)]:
        if there.get(stage) != here.get(stage):
            return f"{stage} is {there.get(stage)} there and {here.get(stage)} here"
    return ""


def _check_files(folder: Path, record: Record) -> None:
    digests = record.get("sha256")
    for name in (METRICS, VERDICTS):
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing. Restore it, or remove {folder}.")
        if not isinstance(digests, dict) or sha256_file(path) != digests.get(name):
            raise UserError(f"{path} has changed since it was exported. Restore it, or remove {folder}.")
    read_outcomes(folder / VERDICTS)


def import_results(found: Importable, graph: Graph, store: Store) -> int:
    """Lay the evaluations of checked results into the store as finished ones; how many were not there.

    A trial that the store has evaluated already keeps its own.
    """
    count = 0
    for name, source in found.trials.items():
        key = next(each for each in graph.plans[name] if each[0] == LAST)
        planned = graph.nodes[key].planned
        with store.lock(*key):
            if store.finished(*key):
                continue
            store.discard(*key)
            place = store.path(*key)
            place.mkdir(parents=True)
            numbers = read_object(source / METRICS)
            own = {metric: value for metric, value in numbers.items() if metric.startswith(f"{LAST}/")}
            write_json(place / METRICS, own)
            record = read_object(source / TRIAL)
            write_json(place / IMPORTED, {"metrics": numbers, **{each: record.get(each) for each in _MADE}})
            shutil.copyfile(source / VERDICTS, place / VERDICTS)
            store.finish(planned.key, stage_class(LAST).version, planned.section, None)
        count += 1
    return count


def settled(plans: Mapping[str, Sequence[StageId]], store: Store) -> Callable[[str, str], bool]:
    """Whether a stage is finished, or no trial waits for it, since those that rest on it were imported."""
    waiting = {
        key
        for plan in plans.values()
        if not any(stage == LAST and is_imported(store.path(stage, digest)) for stage, digest in plan)
        for key in plan
    }
    spared = {key for plan in plans.values() for key in plan} - waiting
    return lambda stage, digest: (stage, digest) in spared or store.finished(stage, digest)
