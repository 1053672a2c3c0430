"""The way of synthetic rows from the first candidate to the last answered one, checked step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from domino_lightning.reporting.collect import StageDir, read_optional, whole


@dataclass(frozen=True)
class FunnelStep:
    """One filter: rows in, rows rejected, rows out, and the reasons where there are several."""

    stage: str
    name: str
    taken: int
    rejected: int
    out: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Funnel:
    """Every step from the first candidate to the last answered row.

    `warnings` names what does not add up. `screen` is the count kept while sampling where `curate` judged all
    candidates again, so that it is no step of the chain; None elsewhere.
    """

    steps: list[FunnelStep]
    warnings: list[str]
    screen: FunnelStep | None = None

    @property
    def candidates(self) -> int:
        """Rows that entered the first step."""
        return self.steps[0].taken if self.steps else 0


def read_funnel(synthesize: StageDir, curate: StageDir, answer: StageDir) -> Funnel:
    """The steps of the three stages as one chain, checked: every step must add up and meet the next one.

    A stage that was not run adds no step.
    """
    steps: list[FunnelStep] = []
    warnings: list[str] = []
    aside: FunnelStep | None = None
    screen = read_optional(synthesize, "synthesis.json")
    if screen is not None:
        reasons = _counts(screen.get("reasons"))
        reasons.pop("ok", None)
        candidates, kept = whole(screen.get("candidates")) or 0, whole(screen.get("screened_in")) or 0
        steps.append(FunnelStep("synthesize", "screen", candidates, sum(reasons.values()), kept, reasons))
    funnel = read_optional(curate, "funnel.json")
    if funnel is not None:
        chain = _curate_steps(funnel, warnings)
        start = whole(funnel.get("candidates"))
        if steps and start is not None and start == steps[0].taken != steps[0].out:
            aside = steps.pop()
        steps += chain
        _check_rows(curate, "accepted.jsonl", whole(funnel.get("accepted")), warnings)
    answers = read_optional(answer, "answers.json")
    if answers is not None:
        reasons = _counts(answers.get("rejected"))
        taken, answered = whole(answers.get("accepted")) or 0, whole(answers.get("answered")) or 0
        steps.append(FunnelStep("answer", "answer", taken, sum(reasons.values()), answered, reasons))
        _check_rows(answer, "answered.jsonl", answered, warnings)
    for step in [aside, *steps] if aside else steps:
        if step.taken - step.rejected != step.out:
            name = f"{step.stage}/{step.name}"
            warnings.append(f"{name}: {step.taken} in, {step.rejected} rejected, {step.out} out.")
    for before, after in zip(steps, steps[1:], strict=False):
        if before.out != after.taken:
            names = f"{before.stage}/{before.name}", f"{after.stage}/{after.name}"
            warnings.append(f"{names[0]} lets {before.out} out, {names[1]} takes {after.taken} in.")
    return Funnel(steps, warnings, aside)


def _curate_steps(funnel: dict[str, Any], warnings: list[str]) -> list[FunnelStep]:
    listed = funnel.get("steps")
    steps = []
    for row in listed if isinstance(listed, list) else []:
        values = row if isinstance(row, dict) else {}
        taken, rejected, out = (whole(values.get(name)) or 0 for name in ("in", "rejected", "out"))
        codes = _counts(values.get("codes"))
        steps.append(FunnelStep("curate", str(values.get("filter", "?")), taken, rejected, out, codes))
        if codes and sum(codes.values()) != rejected:
            warnings.append(f"curate/{steps[-1].name}: its codes count {sum(codes.values())} of {rejected} rejected.")
    start, accepted = whole(funnel.get("candidates")), whole(funnel.get("accepted"))
    if steps and start is not None and start != steps[0].taken:
        warnings.append(f"funnel.json counts {start} candidates, its first filter takes {steps[0].taken} in.")
    if steps and accepted is not None and accepted != steps[-1].out:
        warnings.append(f"funnel.json counts {accepted} accepted, its last filter lets {steps[-1].out} out.")
    return steps


def _counts(value: Any) -> dict[str, int]:
    return {str(key): whole(count) or 0 for key, count in value.items()} if isinstance(value, dict) else {}


def _check_rows(stage: StageDir, name: str, expected: int | None, warnings: list[str]) -> None:
    path = stage.path / name
    if expected is None or not path.is_file():
        return
    with open(path, "rb") as file:
        rows = sum(1 for line in file if line.strip())
    if rows != expected:
        warnings.append(f"{name} has {rows} rows where {expected} are counted.")
