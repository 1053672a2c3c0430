"""What the arms wrote, side by side: accepted texts, and test problems on which the arms disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domino_lightning.errors import UserError
from domino_lightning.reporting.collect import TrialDir
from domino_lightning.reporting.reader import Reader, Untold, reader_of
from domino_lightning.reporting.samples import clip, novelty, spread
from domino_lightning.reporting.sweep.arms import Arm, SeedRun
from domino_lightning.utils.jsonl import Record, read_jsonl

SAMPLES, PROBLEMS = 4, 6


@dataclass(frozen=True)
class Texts:
    """Accepted texts of one corpus, which several arms may share."""

    labels: list[str]
    trial: str
    rows: list[tuple[str, str]]  # what is particular to a record, what is asked with its answer
    accepted: int
    new: int | None
    distinct: int | None


@dataclass(frozen=True)
class Attempt:
    """An arm's first completion of a problem and its verdict.

    Attributes:
        completion: None where the store has none, as of an imported trial.
    """

    label: str
    passed: bool
    status: str
    completion: str | None


@dataclass(frozen=True)
class Disputed:
    """A test problem that some arms solve and others do not."""

    id: str
    code: str
    call: str
    expected: str
    attempts: list[Attempt]


def corpus_texts(arms: Sequence[Arm], untold: Untold | None = None) -> list[Texts]:
    """A few accepted texts of every distinct corpus, spread evenly over its file; of each arm's first seed.

    Args:
        arms: of the sweep.
        untold: takes what their domains cannot tell.
    """
    groups: dict[str, tuple[list[str], TrialDir]] = {}
    for arm in arms:
        trial = next((trial for trial in arm.begun if trial.stages["curate"].state == "finished"), None)
        if trial:
            groups.setdefault(trial.stages["curate"].fingerprint, ([], trial))[0].append(arm.label)
    found = []
    for labels, trial in groups.values():
        accepted = _rows(trial, "curate", "accepted.jsonl")
        reader = reader_of(trial.config, untold)
        outputs = {row.get("id"): reader.answer(row) for row in _rows(trial, "answer", "answered.jsonl")}
        references = _rows(trial, "prepare", "reference.jsonl")
        counted = novelty(accepted, references, reader) if accepted and references else None
        rows = [(clip(reader.subject(row), 1200), _answered(row, outputs, reader)) for row in spread(accepted, SAMPLES)]
        new, distinct = (counted.new, counted.distinct) if counted else (None, None)
        found.append(Texts(labels, trial.name, rows, len(accepted), new, distinct))
    return found


def _answered(row: Record, outputs: dict[object, str | None], reader: Reader) -> str:
    output = outputs.get(row.get("id"))
    return clip(reader.question(row), 300) + ("" if output is None else f"\n→ {clip(output, 300)}")


def disputed(arms: Sequence[Arm], count: int = PROBLEMS, untold: Untold | None = None) -> tuple[list[Disputed], int]:
    """(problems shown, problems on which arms disagree), by the first sample of the first evaluated seed.

    Shown are those on which the arms are most evenly divided, spread over the file where there are many.
    """
    runs = [(arm, arm.scored[0]) for arm in arms if arm.scored]
    verdicts = {arm.name: {str(row["id"]): row["verdicts"][0] for row in _verdicts(run)} for arm, run in runs}
    if len(runs) < 2:
        return [], 0
    ids = [name for name in verdicts[runs[0][0].name] if all(name in rows for rows in verdicts.values())]
    split = {name: sum(bool(rows[name].get("passed")) for rows in verdicts.values()) for name in ids}
    open_ = [name for name in ids if 0 < split[name] < len(runs)]
    even = min((abs(2 * split[name] - len(runs)) for name in open_), default=0)
    chosen = spread([name for name in open_ if abs(2 * split[name] - len(runs)) == even], count)
    texts = {arm.name: {str(row["id"]): row["completions"] for row in _completions(run)} for arm, run in runs}
    first = runs[0][1].trial
    problems = {str(row.get("id")): row for row in (_rows(first, "prepare", "test.jsonl") if first else [])}
    reader = reader_of(first.config, untold) if first else Reader(None)
    shown = []
    for name in chosen:
        problem = problems.get(name, {})
        attempts = [
            Attempt(
                arm.label,
                bool(verdicts[arm.name][name].get("passed")),
                str(verdicts[arm.name][name].get("status", "")),
                clip(texts[arm.name][name][0], 600) if name in texts[arm.name] else None,
            )
            for arm, _ in runs
        ]
        call, expected = clip(reader.question(problem), 400), clip(reader.answer(problem), 400)
        shown.append(Disputed(name, clip(reader.subject(problem)), call, expected, attempts))
    return shown, len(open_)


def _verdicts(run: SeedRun) -> list[Record]:
    rows = _rows(run.trial, "evaluate", "verdicts.jsonl") if run.trial else []
    return [row for row in rows if row.get("verdicts")]


def _completions(run: SeedRun) -> list[Record]:
    rows = _rows(run.trial, "evaluate", "generations.jsonl") if run.trial else []
    return [row for row in rows if row.get("completions")]


def _rows(trial: TrialDir, stage: str, name: str) -> list[Record]:
    path = trial.stages[stage].path / name
    try:
        return read_jsonl(path) if trial.stages[stage].exists and path.is_file() else []
    except UserError:
        return []
