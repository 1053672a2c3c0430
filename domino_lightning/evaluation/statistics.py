"""The statistics of scores: pass@k, intervals over groups of problems, paired comparisons. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from domino_lightning.errors import UserError
from domino_lightning.evaluation.crossed import Components, SeedSquares, components, group_table
from domino_lightning.evaluation.intervals import CONFIDENCE, difference_interval, score_interval, two_sided_p


class Estimate(NamedTuple):
    """A mean with the ends of its interval; both ends are NaN where one group alone says nothing of others."""

    value: float
    low: float
    high: float


def pass_at_k(total: int, correct: int, k: int) -> float:
    """Unbiased pass@k of one problem, `1 - C(total - correct, k) / C(total, k)`, as a stable product.

    This is the probability that k of the `total` samples, drawn without replacement, hold a correct one
    (Chen et al. 2021, arXiv 2107.03374).

    Raises:
        UserError: fewer samples than k.
    """
    if k > total:
        raise UserError(f"pass@{k} of a problem with {total} samples: draw at least {k}, or lower k.")
    missed = 1.0
    for i in range(k):
        missed *= (total - correct - i) / (total - i)
        if missed <= 0.0:  # fewer wrong samples than k; the next factor would be negative
            return 1.0
    return 1.0 - missed


def score_estimate(
    table: Components,
    lent: SeedSquares | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A single mean score with its interval; see `intervals.score_interval`."""
    low, high = score_interval(table, lent, bounds, confidence)
    return Estimate(float(table.value), float(low), float(high))


def difference_estimate(table: Components, lent: SeedSquares | None = None, confidence: float = CONFIDENCE) -> Estimate:
    """A single mean difference with its interval; see `intervals.difference_interval`."""
    low, high = difference_interval(table, lent, confidence)
    return Estimate(float(table.value), float(low), float(high))


def cluster_mean(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """The mean of P values and its interval over new groups; the order of the values changes nothing.

    Values of one group are correlated, so the variance is that between groups, with G - 1 degrees of freedom.

    Args:
        values: (P,) scores.
        groups: (P,) hashable labels; None makes every value a group of its own.
        confidence: coverage that the interval aims at.
        bounds: least and greatest possible value.

    Raises:
        ValueError: no values, or not one group per value.
    """
    table = group_table(np.atleast_2d(np.asarray(values, dtype=np.float64)), groups)
    return score_estimate(components(table), None, bounds, confidence)


def score_problems(
    correct: Sequence[int],
    total: Sequence[int],
    groups: Sequence[object] | None = None,
    k: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
    warn: Callable[[str], object] = warnings.warn,
) -> dict[str, float]:
    """pass@k of P problems with its interval, for every k, and what it was counted on.

    Args:
        correct: c of each problem.
        total: n of each problem, at least 1.
        groups: label of each problem's group; None makes every problem one of its own.
        k: every k to report; None for all from 1 to the smallest n. A k above the smallest n is left out:
            pass@k of fewer than k samples cannot be estimated without bias.
        confidence: coverage that the intervals aim at.
        warn: told of every k that is left out.

    Returns:
        "pass@k", "pass@k_low" and "pass@k_high" for every k, then "problems", "groups" and "samples".

    Raises:
        ValueError: no problems.
    """
    if not total:
        raise ValueError("pass@k of no problems")
    fewest = min(total)
    wanted = range(1, fewest + 1) if k is None else k
    for each in wanted:
        if each > fewest:
            short = sum(n < each for n in total)
            warn(
                f"pass@{each} is left out: {short} of {len(total)} problems have fewer than {each} samples, "
                f"the fewest {fewest}. Draw more samples, or lower k."
            )
    chosen = [each for each in wanted if each <= fewest]
    result: dict[str, float] = {}
    for each in chosen:
        scores = [pass_at_k(n, c, each) for n, c in zip(total, correct, strict=True)]
        names = (f"pass@{each}", f"pass@{each}_low", f"pass@{each}_high")
        result |= dict(zip(names, cluster_mean(scores, groups, confidence), strict=True))
    distinct = len(total) if groups is None else len(set(groups))
    return result | {"problems": len(total), "groups": distinct, "samples": sum(total)}


def independent_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of independent values of any size with a t interval; its ends are NaN where there is one value.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("the mean of no values")
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Estimate(mean, nan, nan)
    half = float(stdtrit(count - 1, (1 + confidence) / 2) * np.std(values, ddof=1)) / sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[Estimate, float]:
    """mean(second) - mean(first) over the same P problems, scores in [0, 1], with its interval and a p value.

    Both are over the differences between groups (`evaluation.intervals`), so what is hard for both widens nothing.

    Raises:
        ValueError: lengths that differ, no values, or not one group per value.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{before.shape} scores of the first, {after.shape} of the second")
    table = components(group_table(np.atleast_2d(after - before), groups))
    return difference_estimate(table, confidence=confidence), float(two_sided_p(table))


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test: are problems that one coder alone solves as often either one's?

    Under the null, of the `only_first + only_second` discordant problems each is the first's with chance 1/2
    (McNemar 1947, with the binomial distribution in place of its approximation). It takes problems as
    independent. Without a discordant problem p is 1.

    Raises:
        ValueError: a negative count.
    """
    from scipy.stats import binomtest

    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of problems cannot be negative: {only_first}, {only_second}")
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method (1979), in the order given.

    Rejecting where the adjusted p is at most alpha bounds the chance of any false rejection by alpha, whatever
    the dependence between the tests.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
