"""What a sweep's scores say, with what they leave open: intervals over problems and seeds, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

from domino_lightning.evaluation.comparison import Outcomes, compare, pooled
from domino_lightning.evaluation.statistics import Estimate, bootstrap_mean, holm, pass_at_k
from domino_lightning.reporting.sweep.arms import Arm

LEVEL = 0.975  # of a two-sided 95% interval
_Z = 1.959964


@dataclass(frozen=True)
class Spread:
    """The variance between seeds, taken as the same in all arms and pooled over them.

    Attributes:
        variance: of one seed's value; NaN without degrees of freedom.
        freedom: degrees of freedom, the sum over arms of seeds - 1.
    """

    variance: float
    freedom: int

    def half_width(self, seeds: int) -> float:
        """Half of a 95% t interval of a mean over seeds; 0 where nothing is known of seeds."""
        return quantile_t(self.freedom) * sqrt(self.variance / seeds) if self.freedom else 0.0


@dataclass(frozen=True)
class ArmScore:
    """pass@k of one arm, a share in [0, 1].

    Attributes:
        estimate: mean over seeds and problems; its ends are NaN where one group of problems says nothing.
        seeds: distinct runs that it rests on.
        by_seed: each run's mean.
    """

    estimate: Estimate
    seeds: int
    by_seed: list[float]
    problems: int
    groups: int


@dataclass(frozen=True)
class Difference:
    """An arm's pass@k minus the baseline's, problem by problem and seed by seed.

    Attributes:
        test: "t" over seeds and problems, or "McNemar", exact over problems, where seeds tell nothing.
        p: of the test; `adjusted` by Holm over all arms.
        problem: why there is none; then the numbers are NaN.
    """

    estimate: Estimate
    p: float
    adjusted: float
    test: str
    seeds: int
    only_arm: int = 0
    only_baseline: int = 0
    problem: str = ""

    @property
    def significant(self) -> bool:
        """Whether the adjusted p value is below 5%."""
        return self.adjusted < 0.05


_NO_SPREAD = Spread(0.0, 0)


def quantile_t(freedom: float) -> float:
    """The 97.5% quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, LEVEL))


def two_sided_t(ratio: float, freedom: float) -> float:
    """P(|T| >= |ratio|) of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(ratio)))


def spread(values: Sequence[Sequence[float]]) -> Spread:
    """The variance within arms of their seeds' values, pooled."""
    freedom = sum(len(row) - 1 for row in values if row)
    squares = sum((value - sum(row) / len(row)) ** 2 for row in values for value in row)
    return Spread(squares / freedom if freedom else nan, freedom)


def mean_over_seeds(values: Sequence[float], between: Spread) -> Estimate | None:
    """The mean of a metric over seeds with a 95% t interval; no interval where nothing is known of seeds."""
    if not values:
        return None
    mean = sum(values) / len(values)
    half = between.half_width(len(values)) if between.freedom else nan
    return Estimate(mean, mean - half, mean + half)


def widened(estimate: Estimate, half: float, low: float, high: float) -> Estimate:
    """An interval over problems with a second, independent half width added in squares, cut at `low` and `high`.

    The recovery of variance from the ends of intervals (Zou and Donner 2008, "MOVER"), which keeps the
    bootstrap's asymmetry.
    """
    if isnan(estimate.low):
        return estimate
    down, up = estimate.value - estimate.low, estimate.high - estimate.value
    return Estimate(
        estimate.value,
        max(low, estimate.value - sqrt(down**2 + half**2)),
        min(high, estimate.value + sqrt(up**2 + half**2)),
    )


def problem_scores(runs: Sequence[Outcomes], k: int) -> dict[str, float]:
    """pass@k by problem, the mean over runs; only problems that all runs have."""
    names = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
    return {name: sum(pass_at_k(run[name].total, run[name].correct, k) for run in runs) / len(runs) for name in names}


def arm_scores(arms: Sequence[Arm], k: int = 1) -> list[ArmScore | None]:
    """pass@k of every arm over its seeds and problems; None for an arm without k samples of a problem.

    Problems are drawn in whole groups (cluster bootstrap over the mean of the seeds); the variance between
    seeds is pooled over arms, so that two seeds of many arms tell more than two seeds of one.
    """
    runs = [[run.outcomes for run in arm.replicates] for arm in arms]
    drawn = [all(outcome.total >= k for run in row for outcome in run.values()) for row in runs]
    means = [[_mean(run, k) for run in row] if fine else [] for row, fine in zip(runs, drawn, strict=True)]
    between = spread(means)
    scores: list[ArmScore | None] = []
    for arm, row, by_seed in zip(arms, runs, means, strict=True):
        if not by_seed:
            scores.append(None)
            continue
        each = problem_scores(row, k)
        groups = [row[0][name].group for name in each]
        estimate = bootstrap_mean(list(each.values()), groups)
        half = 0.0 if arm.seedless else between.half_width(len(by_seed))
        scores.append(ArmScore(widened(estimate, half, 0, 1), len(by_seed), by_seed, len(each), len(set(groups))))
    return scores


def _mean(run: Outcomes, k: int) -> float:
    return sum(pass_at_k(one.total, one.correct, k) for one in run.values()) / len(run)


def differences(arms: Sequence[Arm], baseline: Arm, k: int = 1) -> list[Difference | None]:
    """Every arm against the baseline, p values adjusted together; None for the baseline itself.

    Runs of equal seeds are paired, and problems within them. With two seeds or more the test is a t test whose
    variance has a part from the problems (bootstrap over groups) and one from the seeds (pooled over arms),
    with Satterthwaite's degrees of freedom. With one seed it is McNemar's exact test, which knows of problems
    alone.
    """
    paired = [_paired(arm, baseline, k) if arm is not baseline else None for arm in arms]
    by_seed = [
        [_mean(second, k) - _mean(first, k) for first, second in pair] if isinstance(pair, list) else []
        for pair in paired
    ]
    between = spread(by_seed)
    raw: list[Difference | None] = [
        pair
        if pair is None or isinstance(pair, Difference)
        else _difference(pair, _NO_SPREAD if arm.seedless and baseline.seedless else between, k)
        for arm, pair in zip(arms, paired, strict=True)
    ]
    places = [place for place, one in enumerate(raw) if one and not one.problem]
    adjusted = dict(zip(places, holm([raw[place].p for place in places]), strict=True))  # type: ignore[union-attr]
    return [
        Difference(**{**vars(one), "adjusted": adjusted[place]}) if one and place in adjusted else one
        for place, one in enumerate(raw)
    ]


Pairs = list[tuple[Outcomes, Outcomes]]  # (baseline, arm) of one seed


def _paired(arm: Arm, baseline: Arm, k: int) -> Pairs | Difference:
    """The outcomes of the seeds that both have; a seedless arm's single run stands for every seed."""
    if not arm.scored or not baseline.scored:
        return _none("not evaluated" if not arm.scored else "the baseline is not evaluated")
    first, second = ({run.seed: run for run in each.scored} for each in (baseline, arm))
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return _none("no seed in common with the baseline")
    pairs = {(first[seed].evaluated, second[seed].evaluated): seed for seed in seeds}
    found = [(first[seed].outcomes, second[seed].outcomes) for seed in pairs.values()]
    if any(set(before) != set(after) for before, after in found):
        return _none("scored on other problems than the baseline")
    if any(one.total < k for pair in found for run in pair for one in run.values()):
        return _none(f"fewer than {k} samples a problem")
    return found


def _none(problem: str) -> Difference:
    return Difference(Estimate(nan, nan, nan), nan, nan, "", 0, problem=problem)


def _difference(pairs: Pairs, between: Spread, k: int) -> Difference:
    before, after = (problem_scores([pair[side] for pair in pairs], k) for side in (0, 1))
    groups = [pairs[0][0][name].group for name in before]
    problems = bootstrap_mean([after[name] - before[name] for name in before], groups, bounds=(-1.0, 1.0))
    exact = compare(pooled([first for first, _ in pairs]), pooled([second for _, second in pairs]), k, resamples=1)
    half = between.half_width(len(pairs))
    estimate = widened(problems, half, -1, 1)
    p, test = exact.p_value, "McNemar"
    if between.freedom and not isnan(problems.low):
        test = "t"
        of_problems = ((problems.high - problems.low) / (2 * _Z)) ** 2
        of_seeds = between.variance / len(pairs)
        p = _satterthwaite(problems.value, of_problems, max(1, len(set(groups)) - 1), of_seeds, between.freedom)
    return Difference(estimate, p, p, test, len(pairs), exact.only_second, exact.only_first)


def _satterthwaite(value: float, first: float, first_freedom: int, second: float, second_freedom: int) -> float:
    """p of a difference whose variance is the sum of two estimated parts."""
    total = first + second
    if total == 0:
        return 1.0 if value == 0 else 0.0
    freedom = total**2 / (first**2 / first_freedom + second**2 / second_freedom)
    return two_sided_t(value / sqrt(total), freedom)
