"""The answer of a sweep in words: which arm, by how much, how sure; nothing that the numbers do not carry."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from domino_lightning.errors import UserError
from domino_lightning.evaluation.power import smallest_gain, variances
from domino_lightning.reporting.html import p_value, percent, points
from domino_lightning.reporting.sweep.arms import Arm
from domino_lightning.reporting.sweep.estimates import ArmScore, Difference, difference_components

_LISTED = 4
POWER = 0.8
FEW_GROUPS = 3  # below, benchmarks/coverage.py finds intervals that hold 85 to 92%


def answer(
    arms: Sequence[Arm], scores: Sequence[ArmScore | None], differences: Sequence[Difference | None]
) -> tuple[str, list[str]]:
    """A headline and the sentences that qualify it."""
    scored = [(arm, score) for arm, score in zip(arms, scores, strict=True) if score]
    if not scored:
        return "No arm has been evaluated yet.", _unfinished(arms)
    baseline = next(arm for arm in arms if arm.baseline)
    compared = [(arm, one) for arm, one in zip(arms, differences, strict=True) if one and not one.problem]
    rest = [*_seeds(scored), *_few(scored), *_seen(arms, baseline), *_imported(arms), *_unfinished(arms)]
    if not compared:
        arm, score = max(scored, key=lambda pair: pair[1].estimate.value)
        return f"Nothing can be compared with the baseline {baseline.label} yet.", [
            f"{arm.label} solves {percent(score.estimate.value)} of {score.problems} problems at the first try.",
            *rest,
        ]
    better = [pair for pair in compared if pair[1].significant and pair[1].estimate.value > 0]
    worse = [pair for pair in compared if pair[1].significant and pair[1].estimate.value < 0]
    top_arm, top = max(compared, key=lambda pair: pair[1].estimate.value)
    if better:
        best_arm, best = max(better, key=lambda pair: pair[1].estimate.value)
        head = f"{best_arm.label} beats {baseline.label} by {_size(best)}."
        rest.insert(0, _interval(best, len(compared)))
        if len(better) > 1:
            rest.insert(1, f"So do {_names(better, but=best_arm)}; which of them is best is not tested here.")
    elif top.estimate.value > 0:
        head = f"No arm is shown to beat {baseline.label}."
        rest.insert(0, f"The largest lead is {top_arm.label}'s, {_size(top)}: {_lower(_interval(top, len(compared)))}")
    else:
        head = f"No arm scores above {baseline.label}."
        at = f"The nearest is {top_arm.label} at {points(top.estimate.value)} points"
        rest.insert(0, f"{at}: {_lower(_interval(top, len(compared)))}")
    if worse:
        rest.insert(1, f"{_names(worse)} {'is' if len(worse) == 1 else 'are'} worse than {baseline.label}.")
    return head, rest


def _size(one: Difference) -> str:
    return f"{points(one.estimate.value).lstrip('+')} points of pass@1"


def _interval(one: Difference, comparisons: int) -> str:
    p = f"p {'' if one.adjusted < 0.001 else '= '}{p_value(one.adjusted)}"
    counted = f" after Holm's correction for {comparisons} comparisons" if comparisons > 1 else ""
    if isnan(one.estimate.low):
        return "All problems are of one group, which says nothing of others: there is neither an interval nor a test."
    low, high = points(one.estimate.low), points(one.estimate.high)
    said = f"The 95% interval of the difference is {low} to {high} points"
    return f"{said}; {p}{counted} (t test over {one.test})."


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _names(pairs: Sequence[tuple[Arm, Difference]], but: Arm | None = None) -> str:
    names = [arm.label for arm, _ in pairs if arm is not but]
    shown = names[:_LISTED]
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    parts = [*shown, *more]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _seeds(scored: Sequence[tuple[Arm, ArmScore]]) -> list[str]:
    counts = [score.seeds for arm, score in scored if not arm.seedless]
    if not counts:
        return ["Seeds make no difference to these arms."]
    low, high = min(counts), max(counts)
    if high == 1:
        return [
            "One seed per arm: intervals and tests speak of new problems, not of new seeds. "
            "Another seed may turn the order around."
        ]
    which = f"{low} seeds" if low == high else f"{low} to {high} seeds"
    said = [f"{which} per arm; intervals and tests speak of new problems and new seeds."]
    if low == 1:
        said.append("Arms with one seed borrow the variance between seeds from the others.")
    if high == 2:
        said.append(
            "Two seeds say little of how much seeds vary: intervals are wide, and an arm that varies ten times as much "
            "as the others is told too surely all the same."
        )
    return said


def _seen(arms: Sequence[Arm], baseline: Arm) -> list[str]:
    """What a sweep of this size can see; nothing where it does not know the variance between seeds."""
    tables = [row[1] for row in difference_components(arms, baseline) if isinstance(row, tuple)]
    try:
        found = variances(tables)
    except UserError:
        return []
    seeds = max(one.seeds for one in tables)
    least = smallest_gain(found, seeds, tables[0].groups, POWER)
    if least is None:
        return [f"At this size no difference is seen with {POWER:.0%} power."]
    return [
        f"At this size, with {seeds} seeds, a true difference of {100 * least:.1f} points is seen with {POWER:.0%} "
        "power; domino power says what it takes to see a smaller one."
    ]


def _few(scored: Sequence[tuple[Arm, ArmScore]]) -> list[str]:
    """A word where an arm's score rests on too few solved, or unsolved, groups of problems."""
    few = [
        arm.label
        for arm, score in scored
        if min(score.estimate.value, 1 - score.estimate.value) * score.groups < FEW_GROUPS
    ]
    if not few:
        return []
    names = ", ".join(few[:_LISTED]) + (f" and {len(few) - _LISTED} more" if len(few) > _LISTED else "")
    return [
        f"Scores worth fewer than {FEW_GROUPS} groups of problems, solved or left ({names}), depend on one or two of "
        "them: their intervals may be too narrow, and tests seldom find anything."
    ]


def _imported(arms: Sequence[Arm]) -> list[str]:
    runs = [run for arm in arms for run in arm.seeds]
    count = sum(run.imported for run in runs)
    if not count:
        return []
    return [f"{count} of {len(runs)} trials were imported: their numbers are here, their texts and curves are not."]


def _unfinished(arms: Sequence[Arm]) -> list[str]:
    states: dict[str, int] = {}
    for arm in arms:
        for state, number in arm.status_counts().items():
            states[state] = states.get(state, 0) + number
    open_ = {state: number for state, number in states.items() if state != "finished"}
    if not open_:
        return []
    total = sum(states.values())
    listed = ", ".join(f"{number} {state}" for state, number in open_.items())
    return [f"Of {total} trials, {listed}: what they would add is not in these numbers."]
