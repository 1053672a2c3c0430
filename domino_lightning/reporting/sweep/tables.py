"""The tables of a sweep's page: arms by metrics, funnel and corpus, cost, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domino_lightning.evaluation.statistics import Estimate, independent_mean
from domino_lightning.reporting.collect import StageDir, TrialDir, number, read_optional, whole
from domino_lightning.reporting.corpus import MEASURES
from domino_lightning.reporting.funnel import read_funnel
from domino_lightning.reporting.html import fixed
from domino_lightning.reporting.sweep.arms import Arm, SeedRun, SweepData
from domino_lightning.stages import STAGES
from domino_lightning.sweep.events import EVENTS, read_events

# Columns beside pass@k: key, heading, digits. Lower is better for both.
LOSSES = (
    ("tune/heldout/nll_best", "Held-out NLL, nats/token", 3),
    ("finetune/heldout/nll_best", "Coder's held-out NLL", 3),
)


@dataclass(frozen=True)
class Column:
    """A metric of every arm; `cells` follows the arms, None where an arm does not have it."""

    key: str
    title: str
    digits: int
    cells: list[Estimate | None]


def columns(arms: Sequence[Arm], keys: Sequence[tuple[str, str, int]]) -> list[Column]:
    """Metrics that at least one arm has, each with a t interval over the arm's own seeds."""
    found = []
    for key, title, digits in keys:
        values = [arm.values(key) for arm in arms]
        if any(values):
            found.append(Column(key, title, digits, [independent_mean(row) if row else None for row in values]))
    return found


def all_metrics(arms: Sequence[Arm]) -> list[tuple[str, list[tuple[float, float, float] | None]]]:
    """(key, (mean, lowest, highest over seeds) of every arm), for every key that an arm has."""
    keys = sorted({key for arm in arms for run in arm.seeds for key in run.metrics})
    rows = []
    for key in keys:
        values = [arm.values(key) for arm in arms]
        rows.append((key, [(sum(row) / len(row), min(row), max(row)) if row else None for row in values]))
    return rows


@dataclass(frozen=True)
class Corpus:
    """What one arm's synthesis came to, means over its distinct runs; None where a stage was not run."""

    arm: Arm
    steps: list[tuple[str, float]]
    pairs: float | None
    tokens: float | None
    seeds: int

    @property
    def candidates(self) -> float:
        """Rows before the first filter."""
        return self.steps[0][1] if self.steps else 0.0

    @property
    def share(self) -> float | None:
        """Pairs of every candidate."""
        return self.pairs / self.candidates if self.pairs is not None and self.candidates else None


def corpora(arms: Sequence[Arm]) -> tuple[list[str], list[Corpus]]:
    """Names of all steps in order, and every arm's rows left after each; arms without synthesis are left out."""
    rows = []
    for arm in arms:
        trials = _distinct(arm.begun, ("synthesize", "curate", "answer"))
        chains = [_chain(trial) for trial in trials]
        chains = [chain for chain in chains if chain]
        if not chains:
            continue
        names = list(dict.fromkeys(name for chain in chains for name in chain))
        steps = [(name, _mean([chain[name] for chain in chains if name in chain]) or 0.0) for name in names]
        tokens = [_count(trial.stages["synthesize"], "synthesis.json", "tokens") for trial in trials]
        pairs = [_count(trial.stages["answer"], "answers.json", "answered") for trial in trials]
        rows.append(Corpus(arm, steps, _mean(pairs), _mean(tokens), len(chains)))
    return list(dict.fromkeys(name for row in rows for name, _ in row.steps)), rows


@dataclass(frozen=True)
class Measure:
    """A measure of every arm's corpus beside that of real held-out data, as text; means over distinct corpora."""

    name: str
    about: str
    cells: list[str]
    floor: str


def measures(rows: Sequence[Corpus]) -> list[Measure]:
    """The measures of `corpus.json` in its order, for the arms of `rows`; empty where no arm has one."""
    found: dict[str, list[list[tuple[float | None, float | None]]]] = {}
    for place, row in enumerate(rows):
        for trial in _distinct(row.arm.begun, ("answer",)):
            listed = (read_optional(trial.stages["answer"], "corpus.json") or {}).get("measures")
            for name, values in listed.items() if isinstance(listed, dict) else ():
                pair = number(values.get("value")), number(values.get("floor_value"))
                found.setdefault(str(name), [[] for _ in rows])[place].append(pair)
    table = []
    for name, cells in found.items():
        label, digits, about = MEASURES.get(name, (name, 3, ""))
        means = [_mean([value for value, _ in cell]) for cell in cells]
        floor = _mean([floor for cell in cells for _, floor in cell])
        table.append(Measure(label, about, [fixed(mean, digits) for mean in means], fixed(floor, digits)))
    return table


def _chain(trial: TrialDir) -> dict[str, int]:
    """Rows left after each step of a trial's funnel, the candidates first."""
    funnel = read_funnel(*(trial.stages[name] for name in ("synthesize", "curate", "answer")))
    left = {"candidates": funnel.candidates} if funnel.steps else {}
    return left | {step.name: step.out for step in funnel.steps}


def _distinct(trials: Sequence[TrialDir], names: Sequence[str]) -> list[TrialDir]:
    """One trial for each distinct set of fingerprints of the stages `names`, of those that have any of them."""
    found = {
        tuple(trial.stages[name].fingerprint for name in names): trial
        for trial in reversed(trials)
        if any(trial.stages[name].exists for name in names)
    }
    return list(found.values())[::-1]


def _count(stage: StageDir, file: str, name: str) -> int | None:
    return whole((read_optional(stage, file) or {}).get(name))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class ArmCost:
    """Wall time of one arm: the mean over its trials of every stage, in seconds, and tokens generated."""

    arm: Arm
    stages: dict[str, float | None]
    total: float
    trials: int
    steps: dict[str, float | None]


def costs(arms: Sequence[Arm]) -> tuple[list[ArmCost], float, float]:
    """(costs of every arm, seconds of all distinct stages, seconds had every trial run alone)."""
    rows, alone = [], 0.0
    distinct: dict[tuple[str, str], float] = {}
    for arm in arms:
        done = [trial for trial in arm.begun if any(stage.wall_s is not None for stage in trial.stages.values())]
        stages = {name: _mean([trial.stages[name].wall_s for trial in done]) for name in STAGES}
        steps = {name: _mean([_steps(trial, name) for trial in done]) for name in ("tune", "finetune")}
        rows.append(ArmCost(arm, stages, sum(value or 0.0 for value in stages.values()), len(done), steps))
        for stage in (stage for trial in done for stage in trial.stages.values() if stage.wall_s is not None):
            alone += stage.wall_s or 0.0
            distinct[stage.name, stage.fingerprint] = stage.wall_s or 0.0
    return rows, sum(distinct.values()), alone


def _steps(trial: TrialDir, name: str) -> float | None:
    trainer = (trial.config.get(name) or {}).get("trainer") or {}
    if name == "finetune":
        coder = read_optional(trial.stages[name], "coder.json") or {}
        return whole(coder.get("steps"))
    return whole(trainer.get("max_steps")) if trial.stages[name].exists else None


@dataclass(frozen=True)
class SweepFailure:
    """A stage or a trial that failed, its last error, and whom it concerns."""

    what: str
    error: str
    trials: list[str]
    log: str


def failures(data: SweepData) -> list[SweepFailure]:
    """Failed stages by the event log, then failed trials that no such stage accounts for."""
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for event in read_events(data.path / EVENTS):
        if event.get("event") == "launched" and event.get("retry_failed"):
            last = {key: known for key, known in last.items() if known["event"] != "failed"}
        if event.get("event") in {"failed", "finished", "started"} and "stage" in event:
            last[str(event["stage"]), str(event.get("fingerprint"))] = event
    found: list[SweepFailure] = []
    told: set[str] = set()
    for (stage, fingerprint), event in last.items():
        concerned = [run for run in data.trials if _uses(run, stage, fingerprint)]
        finished = any(run.trial and run.trial.stages[stage].state == "finished" for run in concerned)
        if event["event"] != "failed" or finished:
            continue
        log = f"logs/{stage}-{fingerprint}.log"
        names = [run.name for run in concerned]
        told.update(run.name for run in concerned if run.status == "failed")
        what = str(event.get("error") or event.get("how") or "")
        found.append(SweepFailure(stage, what, names, _existing(data, log)))
    for run in data.trials:
        if run.trial and run.status in {"failed", "unreadable", "damaged"} and run.name not in told:
            found.append(SweepFailure("trial", run.trial.error, [run.name], ""))
    return found


def _existing(data: SweepData, name: str) -> str:
    return name if (data.path / name).is_file() else ""


def _uses(run: SeedRun, stage: str, fingerprint: str) -> bool:
    place: StageDir | None = run.trial.stages.get(stage) if run.trial else None
    return place is not None and place.fingerprint == fingerprint
