"""The arms of a sweep as they are on disk: trials by seed, their outcomes on the test problems, their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.evaluation.comparison import Outcomes, read_outcomes
from domino_lightning.reporting.collect import TrialDir, number, read_trial
from domino_lightning.results.imported import imported_metrics, is_imported
from domino_lightning.results.runs import axis_value
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.sweep.results import SweepRuns
from domino_lightning.utils.jsonl import Record


@dataclass(frozen=True)
class SeedRun:
    """One trial of an arm; `trial` is None before it has begun."""

    name: str
    seed: int
    trial: TrialDir | None

    @property
    def status(self) -> str:
        """pending, running, finished, failed, unreadable or damaged."""
        return self.trial.status if self.trial else "pending"

    @cached_property
    def evaluated(self) -> str:
        """The fingerprint of its finished evaluate stage; empty without one."""
        stage = self.trial.stages["evaluate"] if self.trial else None
        return stage.fingerprint if stage and stage.state == "finished" else ""

    @property
    def imported(self) -> bool:
        """Whether its verdicts were made elsewhere, so that numbers are all there is of it."""
        return self.trial is not None and is_imported(self.trial.stages["evaluate"].path)

    @cached_property
    def outcomes(self) -> Outcomes:
        """Correct and total samples by problem; empty where it is not evaluated or cannot be read."""
        if not self.trial or not self.evaluated:
            return {}
        try:
            return read_outcomes(self.trial.stages["evaluate"].path / "verdicts.jsonl")
        except (UserError, KeyError, TypeError):
            return {}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Final numbers of its finished stages, by `<stage>/<split>/<name>`."""
        found: dict[str, float] = {}
        for name in reversed(STAGES) if self.trial else ():  # an imported evaluation brings numbers of the others
            stage = self.trial.stages[name] if self.trial else None
            if stage and stage.state == "finished":
                try:
                    values = imported_metrics(stage.path) | stage_class(name).metrics(stage.path)
                except (UserError, KeyError, TypeError, ValueError):
                    continue
                found |= {key: value for key, value in values.items() if number(value) is not None}
        return found


@dataclass(frozen=True)
class Arm:
    """One combination of axis values and its trials, one a seed.

    Attributes:
        name: as in `trials.json`, `loss=infonce,weight=0.3`.
        label: the name without axes that are the same in all arms.
        axes: number or label by axis name; an axis that does not apply is absent.
    """

    name: str
    label: str
    axes: Mapping[str, Any]
    seeds: tuple[SeedRun, ...]
    baseline: bool = False

    @property
    def scored(self) -> list[SeedRun]:
        """The evaluated trials."""
        return [run for run in self.seeds if run.outcomes]

    @cached_property
    def replicates(self) -> list[SeedRun]:
        """One trial for each distinct evaluation: where the seed reaches no stage, all seeds are one run."""
        return list({run.evaluated: run for run in reversed(self.scored)}.values())[::-1]

    @property
    def seedless(self) -> bool:
        """Whether several seeds came to one and the same evaluation, so that seeds make no difference here."""
        return len(self.scored) > 1 and len(self.replicates) == 1

    @property
    def begun(self) -> list[TrialDir]:
        """Trials that have a directory."""
        return [run.trial for run in self.seeds if run.trial]

    def values(self, metric: str) -> list[float]:
        """A metric of the distinct trials that have it."""
        runs = self.replicates or list(self.seeds)
        return [run.metrics[metric] for run in runs if metric in run.metrics]

    def status_counts(self) -> dict[str, int]:
        """How many trials are finished, failed and so on, in that order."""
        order = ("finished", "running", "interrupted", "pending", "failed", "unreadable")
        states = [run.status for run in self.seeds]
        return {state: states.count(state) for state in (*order, *sorted(set(states) - set(order))) if state in states}


@dataclass(frozen=True)
class SweepData:
    """A sweep read from disk.

    Attributes:
        record: content of `trials.json`, without the trials.
        arms: in the order of the sweep file.
    """

    path: Path
    name: str
    record: Record
    arms: list[Arm]
    axes: list[str] = field(default_factory=list)

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.baseline)

    @property
    def trials(self) -> list[SeedRun]:
        """All trials, arm by arm."""
        return [run for arm in self.arms for run in arm.seeds]


def read_sweep(sweep: SweepRuns, baseline: str | None = None) -> SweepData:
    """Read a sweep's trials from disk.

    Args:
        sweep: from `open_sweep`.
        baseline: an arm's name, in place of the sweep file's.

    Raises:
        UserError: an arm that the sweep does not have.
    """
    chosen = baseline or sweep.baseline
    if chosen not in sweep.arms:
        raise UserError(f"{sweep.path}: no arm '{chosen}' to compare with; there are: {'; '.join(sweep.arms)}.")
    by_arm: dict[str, list[Record]] = {}
    for trial in sweep.record["trials"]:
        by_arm.setdefault(trial["arm"], []).append(trial)
    labels = short_labels({name: trials[0]["axes"] for name, trials in by_arm.items()}, sweep.axes)
    arms = [
        Arm(
            name,
            labels[name],
            {axis: axis_value(trials[0], axis) for axis in sweep.axes if axis in trials[0]["axes"]},
            tuple(_seed_run(sweep, trial) for trial in trials),
            name == chosen,
        )
        for name, trials in by_arm.items()
    ]
    record = {key: value for key, value in sweep.record.items() if key != "trials"}
    return SweepData(sweep.path, sweep.name, record, arms, sweep.axes)


def _seed_run(sweep: SweepRuns, trial: Record) -> SeedRun:
    folder = sweep.folder(trial)
    begun = (folder / "trial.json").is_file()
    return SeedRun(str(trial["trial"]), int(trial["seed"]), read_trial(folder) if begun else None)


def short_labels(arms: Mapping[str, Mapping[str, str]], axes: Sequence[str]) -> dict[str, str]:
    """A label of each arm: the values alone where one axis varies, else `axis=value` of the axes that vary."""
    varying = [axis for axis in axes if len({point.get(axis) for point in arms.values()}) > 1]
    labels = {}
    for name, point in arms.items():
        parts = [(axis, point[axis]) for axis in varying if axis in point]
        labels[name] = ", ".join(value if len(varying) == 1 else f"{axis}={value}" for axis, value in parts) or name
    return labels if len(set(labels.values())) == len(arms) else {name: name for name in arms}
