"""Which rows a report shows, and how close a synthetic record is to the references; no choice is random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from domino_lightning.curation.similarity import Nearest
from domino_lightning.reporting.reader import Reader
from domino_lightning.utils.jsonl import Record

Row = TypeVar("Row")

_CLIP = 3000


@dataclass(frozen=True)
class Sample:
    """A synthetic row beside its nearest reference; `similarity` is in [0, 1]."""

    id: str
    code: str
    call: str
    output: str | None
    nearest_id: str
    nearest_code: str
    similarity: float | None


@dataclass(frozen=True)
class Rejected:
    """A row that a stage left out, and why."""

    id: str
    stage: str
    code: str
    call: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Item:
    """A test problem, what the coder wrote first, and the verdict on it."""

    id: str
    code: str
    call: str
    expected: str
    completion: str
    passed: bool
    status: str
    detail: str


@dataclass(frozen=True)
class Novelty:
    """How many of the accepted records are not among the references, exactly; `units` is what they are called."""

    new: int
    distinct: int
    rows: int
    units: str


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` rows, the first and the last among them, evenly spaced."""
    if len(rows) <= count:
        return list(rows)
    if count <= 1:
        return list(rows[:count])
    return [rows[round(position * (len(rows) - 1) / (count - 1))] for position in range(count)]


def clip(value: Any, limit: int = _CLIP) -> str:
    """Text for a page, cut at `limit` characters with a note of what was left out."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit} more characters"


def novelty(accepted: Sequence[Record], references: Sequence[Record], reader: Reader) -> Novelty:
    """Distinct records of `accepted`, and how many of them no reference has, by the domain's key."""
    known = {reader.key(row) for row in references}
    distinct = {reader.key(row) for row in accepted}
    return Novelty(len(distinct - known), len(distinct), len(accepted), reader.units)


def accepted_samples(
    accepted: Sequence[Record],
    answered: Sequence[Record],
    references: Sequence[Record],
    reader: Reader,
    count: int = 12,
) -> list[Sample]:
    """`count` accepted rows spread evenly over the file, each beside its nearest reference."""
    outputs = {str(row.get("id")): reader.answer(row) for row in answered}
    index = Nearest([(str(row.get("id", "")), reader.subject(row)) for row in references])
    samples = []
    for row in spread(accepted, count):
        code, row_id = reader.subject(row), str(row.get("id", ""))
        found = index.find(code)
        output = outputs.get(row_id)
        samples.append(
            Sample(
                id=row_id,
                code=clip(code),
                call=clip(reader.question(row), 400),
                output=None if output is None else clip(output, 400),
                nearest_id=found[0] if found else "",
                nearest_code=clip(found[1]) if found else "",
                similarity=found[2] if found else None,
            )
        )
    return samples


def rejected_samples(by_stage: Mapping[str, Sequence[Record]], reader: Reader, count: int = 6) -> list[Rejected]:
    """`count` rejected rows: one of each stage and reason in turn, so that rare reasons are shown too."""
    queues: dict[tuple[str, str], list[Rejected]] = {}
    for stage, rows in by_stage.items():
        for row in rows:
            reason = str(row.get("reason") or row.get("screen") or "no reason given")
            queue = queues.setdefault((stage, reason), [])
            if len(queue) < count:
                queue.append(_rejected(stage, reason, row, reader))
    chosen: list[Rejected] = []
    for turn in range(count):
        chosen += [queue[turn] for queue in queues.values() if turn < len(queue)]
    return chosen[:count]


def _rejected(stage: str, reason: str, row: Record, reader: Reader) -> Rejected:
    row_id, detail = str(row.get("id", "")), clip(row.get("detail"), 400)
    return Rejected(row_id, stage, clip(reader.subject(row)), clip(reader.question(row), 400), reason, detail)


def evaluation_items(
    test: Sequence[Record],
    generations: Sequence[Record],
    verdicts: Sequence[Record],
    reader: Reader,
    count: int = 3,
) -> tuple[list[Item], list[Item]]:
    """(passed, failed): at most `count` problems of each, by the verdict on the first completion."""
    problems = {str(row.get("id")): row for row in test}
    texts = {str(row.get("id")): row.get("completions") or [] for row in generations}
    passed: list[Record] = []
    failed: list[Record] = []
    for row in verdicts:
        if row.get("verdicts"):
            (passed if row["verdicts"][0].get("passed") else failed).append(row)

    def item(row: Record) -> Item:
        row_id, verdict = str(row.get("id", "")), row["verdicts"][0]
        problem = problems.get(row_id, {})
        completion = texts.get(row_id) or [""]
        return Item(
            id=row_id,
            code=clip(reader.subject(problem)),
            call=clip(reader.question(problem), 400),
            expected=clip(reader.answer(problem), 800),
            completion=clip(completion[0], 1500),
            passed=bool(verdict.get("passed")),
            status=str(verdict.get("status", "")),
            detail=clip(verdict.get("detail"), 400),
        )

    return [item(row) for row in spread(passed, count)], [item(row) for row in spread(failed, count)]
