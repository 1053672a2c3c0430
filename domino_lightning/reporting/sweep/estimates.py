"""What a sweep's scores say of new problems and new seeds: intervals, paired differences, tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from domino_lightning.evaluation.comparison import Outcomes
from domino_lightning.evaluation.crossed import Components, SeedSquares, components, group_table, lent
from domino_lightning.evaluation.intervals import two_sided_p
from domino_lightning.evaluation.statistics import Estimate, difference_estimate, holm, pass_at_k, score_estimate
from domino_lightning.reporting.sweep.arms import Arm

BOTH = "problems and seeds"
PROBLEMS = "problems"


@dataclass(frozen=True)
class ArmScore:
    """pass@k of one arm, a share in [0, 1].

    Attributes:
        estimate: mean over seeds and problems; its ends are NaN where one group of problems says nothing of others.
        seeds: distinct runs that it rests on.
        by_seed: each run's mean over the problems that all of them have.
        problems: that all runs have.
        left_out: problems that only some runs have.
    """

    estimate: Estimate
    seeds: int
    by_seed: list[float]
    problems: int
    groups: int
    left_out: int = 0


@dataclass(frozen=True)
class Difference:
    """An arm's pass@k minus the baseline's, problem by problem and seed by seed.

    Attributes:
        p: of the test, NaN where all problems are of one group; `adjusted` by Holm over all arms.
        test: what the t test is over: `BOTH`, or `PROBLEMS` where nothing is known of seeds or they change nothing.
        problem: why there is none; then the numbers are NaN.
    """

    estimate: Estimate
    p: float
    adjusted: float
    test: str
    seeds: int
    problem: str = ""

    @property
    def significant(self) -> bool:
        """Whether the adjusted p value is below 5%."""
        return self.adjusted < 0.05


def arm_scores(arms: Sequence[Arm], k: int = 1) -> list[ArmScore | None]:
    """pass@k of every arm over its seeds and problems.

    An arm with two seeds or more goes by their variance alone, whatever the others do; one seed borrows theirs.
    None for an arm that is not evaluated, has fewer than k samples of a problem, or no problem that all seeds have.
    """
    runs = [[run.outcomes for run in arm.replicates] for arm in arms]
    shared = [_shared(row) if _drawn(row, k) else [] for row in runs]
    tables = [_scores(row, names, k) if names else None for row, names in zip(runs, shared, strict=True)]
    labels = [[row[0][name].group for name in names] for row, names in zip(runs, shared, strict=True)]
    found = [
        components(group_table(table, groups)) if table else None for table, groups in zip(tables, labels, strict=True)
    ]
    loan = lent(one for one in found if one)
    scores: list[ArmScore | None] = []
    for arm, row, table, groups, one in zip(arms, runs, tables, labels, found, strict=True):
        if table is None or one is None:
            scores.append(None)
            continue
        left_out = len(set().union(*row)) - len(groups)
        alone = one.seeds > 1 or arm.seedless
        estimate = score_estimate(one, None if alone else loan)
        by_seed = [sum(row) / len(row) for row in table]
        scores.append(ArmScore(estimate, len(table), by_seed, len(groups), one.groups, left_out))
    return scores


def _drawn(runs: Sequence[Outcomes], k: int) -> bool:
    return all(outcome.total >= k for run in runs for outcome in run.values())


def _shared(runs: Sequence[Outcomes]) -> list[str]:
    """The problems that all runs have."""
    return [name for name in runs[0] if all(name in run for run in runs)] if runs else []


def _scores(runs: Sequence[Outcomes], names: Sequence[str], k: int) -> list[list[float]]:
    """pass@k, a row a run and a column a problem."""
    return [[pass_at_k(run[name].total, run[name].correct, k) for name in names] for run in runs]


Pairs = list[tuple[Outcomes, Outcomes]]  # (baseline, arm) of one seed


def differences(arms: Sequence[Arm], baseline: Arm, k: int = 1) -> list[Difference | None]:
    """Every arm against the baseline, p values adjusted together; None for the baseline itself.

    Runs of equal seeds are paired, and problems within them, so that what is hard for both arms, or a seed that
    moves both, widens nothing. Interval and test are those of the mean of a table seeds × groups of problems, with
    the arm's own variances or, of few seeds, what the differences have on average where that is larger
    (`crossed.Components.mean`).
    """
    found = difference_components(arms, baseline, k)
    loan = lent(row[1] for row in found if isinstance(row, tuple))
    raw: list[Difference | None] = []
    for arm, row in zip(arms, found, strict=True):
        if not isinstance(row, tuple):
            raw.append(None if row is None else _none(row))
            continue
        pairs, one = row
        seedless = arm.seedless and baseline.seedless
        seeded = one.seeds > 1 or (loan is not None and not seedless)
        raw.append(_difference(pairs, one, None if seedless else loan, BOTH if seeded else PROBLEMS))
    tested = [place for place, one in enumerate(raw) if one and not isnan(one.p)]
    adjusted = dict(zip(tested, holm([one.p for one in raw if one and not isnan(one.p)]), strict=True))
    return [
        replace(one, adjusted=adjusted[place]) if one and place in adjusted else one for place, one in enumerate(raw)
    ]


def difference_components(
    arms: Sequence[Arm], baseline: Arm, k: int = 1
) -> list[tuple[Pairs, Components] | str | None]:
    """Every arm's runs paired with the baseline's, and the table of their differences in its components.

    Text where there is none, saying why; None for the baseline itself.
    """
    paired = [_paired(arm, baseline, k) if arm is not baseline else None for arm in arms]
    return [(pairs, _components(pairs, k)) if isinstance(pairs, list) else pairs for pairs in paired]


def _paired(arm: Arm, baseline: Arm, k: int) -> Pairs | str:
    """The outcomes of the seeds that both have, or why there are none.

    A seedless arm's single run stands for every seed.
    """
    if not arm.scored or not baseline.scored:
        return "not evaluated" if not arm.scored else "the baseline is not evaluated"
    first, second = ({run.seed: run for run in each.scored} for each in (baseline, arm))
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return "no seed in common with the baseline"
    pairs = {(first[seed].evaluated, second[seed].evaluated): seed for seed in seeds}
    found = [(first[seed].outcomes, second[seed].outcomes) for seed in pairs.values()]
    if any(set(before) != set(after) for before, after in found):
        return "scored on other problems than the baseline"
    if any(set(before) != set(found[0][0]) for before, _ in found):
        return "its seeds were scored on different problems"
    if not all(_drawn(pair, k) for pair in found):
        return f"fewer than {k} samples a problem"
    return found


def _none(problem: str) -> Difference:
    return Difference(Estimate(nan, nan, nan), nan, nan, "", 0, problem=problem)


def _components(pairs: Pairs, k: int) -> Components:
    names = list(pairs[0][0])
    before, after = (_scores([pair[side] for pair in pairs], names, k) for side in (0, 1))
    gains = [[second - first for first, second in zip(*rows, strict=True)] for rows in zip(before, after, strict=True)]
    return components(group_table(gains, [pairs[0][0][name].group for name in names]))


def _difference(pairs: Pairs, table: Components, loan: SeedSquares | None, test: str) -> Difference:
    p = float(two_sided_p(table, loan))
    return Difference(difference_estimate(table, loan), p, p, test, len(pairs))
