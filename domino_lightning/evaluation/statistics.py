"""The statistics of scores: pass@k, bootstrap intervals over clusters, paired comparisons. NumPy only, no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domino_lightning.errors import UserError

CONFIDENCE = 0.95
RESAMPLES = 10_000
_CHUNK = 1 << 21  # counts held at once: 16 MiB

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with the ends of its interval; both ends are NaN where one cluster alone leaves nothing to resample."""

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


def bootstrap_mean(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """The mean of P values and its interval; see `bootstrap_means`."""
    columns = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap_means(columns, groups, confidence, resamples, seed, bounds)[0]


def bootstrap_means(
    values: ArrayLike,
    groups: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> list[Estimate]:
    """Means over problems of M scores, with percentile intervals from one cluster bootstrap.

    Values of one group are correlated, so whole groups are drawn, not values: of G groups, G are drawn with
    replacement and their values pooled, `resamples` times (Field and Welsh 2007, "Bootstrapping clustered
    data"). The result does not depend on the order of the rows.

    Where a column is the same in every group the bootstrap has no width, which would claim a certainty that
    nobody has. Such an interval has the ends that an exact binomial (Clopper-Pearson) bound gives: were more
    than the share b = 1 - ((1 - confidence) / 2)^(1/G) of all groups different, G equal ones would be a rare
    sight; so the mean may lie as far out as a share b of groups at `bounds` would pull it. With no problem
    of 20 solved the interval is 0 to 16.8%.

    Args:
        values: (P, M) scores.
        groups: (P,) hashable labels of clusters; None makes every row a cluster of its own.
        confidence: coverage that the interval aims at. With fewer than about ten groups it is too narrow.
        resamples: bootstrap draws.
        seed: of the draws; no global random state is touched.
        bounds: least and greatest possible value, such as (0, 1) for scores and (-1, 1) for differences.

    Returns:
        M estimates.

    Raises:
        ValueError: no values, or not one group per row.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] == 0:
        raise ValueError(f"values must be (P, M) with P of 1 or more, not {scores.shape}")
    if groups is not None and len(groups) != len(scores):
        raise ValueError(f"{len(scores)} values, but {len(groups)} groups")
    sums, sizes = _clusters(scores, groups)
    means = sums.sum(axis=0) / sizes.sum()
    if len(sizes) < 2:
        return [Estimate(float(mean), nan, nan) for mean in means]
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled_means(sums, sizes, resamples, seed), [tail, 1 - tail], axis=0)
    ratios = sums / sizes[:, None]
    alike = np.isclose(ratios, ratios[0], rtol=0, atol=1e-12).all(axis=0)
    other = 1 - tail ** (1 / len(sizes))
    low = np.where(alike, means - other * (means - bounds[0]), low)
    high = np.where(alike, means + other * (bounds[1] - means), high)
    return [Estimate(*map(float, row)) for row in zip(means, low, high, strict=True)]


def _clusters(scores: Floats, groups: Sequence[object] | None) -> tuple[Floats, Floats]:
    """(G, M) sums and (G,) sizes of the clusters, in an order that depends on their content alone."""
    members: dict[object, list[int]] = {}
    for row, label in enumerate(range(len(scores)) if groups is None else groups):
        members.setdefault(label, []).append(row)
    # Sorted before they are added, since floating-point sums depend on the order.
    blocks = sorted(sorted(scores[rows].tolist()) for rows in members.values())
    sums = np.array([np.sum(block, axis=0) for block in blocks], dtype=np.float64)
    return sums, np.array([len(block) for block in blocks], dtype=np.float64)


def _resampled_means(sums: Floats, sizes: Floats, resamples: int, seed: int) -> Floats:
    """(resamples, M) means, from how often each cluster is drawn."""
    generator = np.random.default_rng(seed)
    count = len(sizes)
    at_once = max(1, _CHUNK // count)
    means = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        means.append(drawn @ sums / (drawn @ sizes)[:, None])
    return np.concatenate(means)


def score_problems(
    correct: Sequence[int],
    total: Sequence[int],
    groups: Sequence[object] | None = None,
    k: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
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
        resamples: bootstrap draws.
        seed: of the draws.
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
    if chosen:
        scores = [[pass_at_k(n, c, each) for each in chosen] for n, c in zip(total, correct, strict=True)]
        for each, found in zip(chosen, bootstrap_means(scores, groups, confidence, resamples, seed), strict=True):
            names = (f"pass@{each}", f"pass@{each}_low", f"pass@{each}_high")
            result |= dict(zip(names, found, strict=True))
    distinct = len(total) if groups is None else len(set(groups))
    return result | {"problems": len(total), "groups": distinct, "samples": sum(total)}


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """mean(second) - mean(first) over the same P problems, scores in [0, 1], with its interval.

    A draw takes a group's scores of both coders together, so what is hard for both does not widen the
    interval (Efron and Tibshirani 1993; Koehn 2004 for paired tests of systems).

    Raises:
        ValueError: lengths that differ, or no values.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{before.shape} scores of the first, {after.shape} of the second")
    return bootstrap_mean(after - before, groups, confidence, resamples, seed, bounds=(-1.0, 1.0))


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test: are problems that one coder alone solves as often either one's?

    Under the null, of the `only_first + only_second` discordant problems each is the first's with chance 1/2
    (McNemar 1947, with the binomial distribution in place of its approximation). It takes problems as
    independent. Without a discordant problem p is 1.

    Raises:
        ValueError: a negative count.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of problems cannot be negative: {only_first}, {only_second}")
    discordant = only_first + only_second
    ways = rarer = 1  # of `count` heads in `discordant` throws, and of at most so many
    for count in range(min(only_first, only_second)):
        ways = ways * (discordant - count) // (count + 1)
        rarer += ways
    return min(1.0, 2 * rarer / 2**discordant)


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
