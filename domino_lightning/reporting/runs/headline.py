"""The headline: every arm's pass@1 with its interval, and what the intervals say about differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from domino_lightning.reporting.charts import Interval, intervals
from domino_lightning.reporting.collect import Score, TrialDir, read_optional, read_score, whole

# Two intervals may overlap though the paired difference is clear: overlap is no evidence either way.
_INSIDE = "intervals that overlap decide nothing, and all speak of new problems, not of new seeds."
_LISTED = 3  # longer lists of pairs are left to the chart


@dataclass(frozen=True)
class HeadlineRow:
    """One row of the headline table."""

    label: str
    trial: TrialDir
    score: Score | None
    steps: int | None


@dataclass(frozen=True)
class Headline:
    """The headline table and its chart, drawn twice: for wide and for narrow screens."""

    rows: list[HeadlineRow]
    wide: str
    narrow: str


def headline(trials: Sequence[TrialDir], labels: Sequence[str]) -> Headline:
    """The table of arms with pass@1 and optimizer steps, and its interval chart."""
    rows = []
    for label, trial in zip(labels, trials, strict=True):
        coder = read_optional(trial.stages["finetune"], "coder.json") or {}
        rows.append(HeadlineRow(label, trial, read_score(trial.stages["evaluate"]), whole(coder.get("steps"))))
    drawn = [
        Interval(arm.label, arm.score.value, arm.score.low, arm.score.high, hollow=arm.trial.source == "none")
        for arm in rows
        if arm.score
    ]
    title = "pass@1 of every arm with its 95% interval"
    wide, narrow = intervals(drawn, 760, title), intervals(drawn, 380, f"{title}, narrow")
    return Headline(rows, Markup(wide), Markup(narrow))


def describe_overlap(arms: Sequence[HeadlineRow]) -> str:
    """What the intervals say about differences between arms, and on how many seeds, in plain words."""
    scored = [
        (arm, arm.score.low, arm.score.high)
        for arm in arms
        if arm.score and arm.score.low is not None and arm.score.high is not None
    ]
    if not scored:
        return "No arm has a pass@1 with an interval yet."
    if len(scored) == 1:
        return "One arm is evaluated, so there is nothing to compare it with."
    seeds = _seeds_per_arm([arm.trial for arm, *_ in scored])
    apart = []
    for (first, first_low, first_high), (second, second_low, second_high) in combinations(scored, 2):
        if first_low > second_high:
            apart.append(f"{first.label} lies above {second.label}")
        elif second_low > first_high:
            apart.append(f"{second.label} lies above {first.label}")
    pairs = len(scored) * (len(scored) - 1) // 2
    if not apart:
        which = "The two" if pairs == 1 else f"All {len(scored)}"
        rest = "" if pairs == 1 else " one another"
        return f"{which} intervals overlap{rest}. {seeds} {_INSIDE}"
    shown = f": {'; '.join(apart)}" if len(apart) <= _LISTED else ""
    if len(apart) == pairs:
        which = "The two intervals do not overlap" if pairs == 1 else "No two intervals overlap"
        return f"{which}{shown}. {seeds} the intervals speak of new problems, not of new seeds."
    which = f"{len(apart)} of {pairs} pairs of intervals do not overlap{shown or '; the chart shows which'}."
    return f"{which} {seeds} {_INSIDE}"


def _seeds_per_arm(trials: Sequence[TrialDir]) -> str:
    arms: dict[tuple[object, ...], set[str]] = {}
    for trial in trials:
        choices = [text for text in trial.overrides if text.partition("=")[0].rpartition(".")[2] != "seed"]
        arms.setdefault((trial.experiment, *choices), set()).add(trial.seed)
    counts = [len(seeds) for seeds in arms.values()]
    low, high = min(counts), max(counts)
    if high == 1:
        return "One seed:" if len(arms) == 1 else "One seed per arm:"
    return f"{low} seeds per arm:" if low == high else f"{low} to {high} seeds per arm:"
