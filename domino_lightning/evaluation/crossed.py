"""The mean of scores in which problems and seeds are crossed: its variance, an interval, a test. No torch.

Every seed of an arm answers the same problems, so scores are a table of seeds × groups of problems with two random
effects and a rest (Searle, Casella and McCulloch 1992, "Variance Components", chapter 4): what is claimed of its
mean holds for new problems and for new seeds. Leading axes of a table are independent tables, computed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
ENOUGH = 5  # seeds that tell the variance of their differences by themselves
_TINY = 1e-12  # below it two numbers are equal but for rounding

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Mean(NamedTuple):
    """A mean with what is known of its error; arrays of equal shape, or scalars.

    Attributes:
        value: the mean.
        variance: its variance over new groups and new seeds; NaN where there is one group.
        freedom: degrees of freedom of the variance.
        groups: how many it rests on.
        alike: whether every cell of the table is the same, which leaves no variance to go by.
        skewed: degrees of freedom at most where few groups carry the variance, see `Components.mean`.
    """

    value: Floats
    variance: Floats
    freedom: Floats
    groups: int
    alike: Flags
    skewed: Floats


class SeedVariance(NamedTuple):
    """The variance between seeds that comparable tables have on average, as arrays of equal shape or scalars."""

    value: Floats | float
    freedom: int


class Components(NamedTuple):
    """The mean of a table and its mean squares, with expectations e + S·g, e + G·s and e.

    Here g, s and e are the variances of groups, of seeds and of the rest (what a seed does on a group beyond both,
    the luck of the draw included).

    Attributes:
        value: the mean.
        by_group: mean square between groups, with G - 1 degrees of freedom; NaN where there is one group.
        by_seed: between seeds, with S - 1; 0 with one seed.
        rest: of the rest, with the product of both; 0 with one seed, whose rest is part of `by_group`.
        seeds: S.
        groups: G.
        alike: whether every cell is the same.
        excess: kurtosis of the groups' means above a normal's, 0 where it is below.
    """

    value: Floats
    by_group: Floats
    by_seed: Floats
    rest: Floats
    seeds: int
    groups: int
    alike: Flags
    excess: Floats

    @property
    def seed_variance(self) -> Floats:
        """The unbiased estimate of s, which may be below 0; NaN with one seed."""
        return (self.by_seed - self.rest) / self.groups if self.seeds > 1 else np.full_like(self.value, np.nan)

    def mean(self, lent: SeedVariance | None = None) -> Mean:
        """The mean with its variance, g/G + s/S + e/(G·S), no component below 0.

        The degrees of freedom are Satterthwaite's (1946), of the mean squares that the variance is a sum of, and
        never below those of the mean square that has fewest.

        Satterthwaite takes the groups' means for normal. Where 2 of 100 groups are ever solved they are not, and
        their variance is known as badly as a count of 2 is: the variance of a sample variance is
        σ⁴ (2/(G - 1) + κ/G) with κ the excess kurtosis (Cramér 1946, section 27.4), so `skewed` is
        2 / (2/(G - 1) + κ/G), about 4 then.

        With few seeds a table's own variance between them is known badly: two that happen to agree hide it. So what
        the arms of a sweep have on average is taken where it is larger. (One noisy arm among quiet ones keeps its
        own, as it should; the quiet ones are told a little less surely.)

        Args:
            lent: the variance between seeds of comparable tables, for one with a single seed or a smaller variance.
        """
        G = self.groups
        of_groups = np.maximum(self.by_group, self.rest)
        of_seeds = self.by_seed - self.rest
        of_seeds = np.where(of_seeds > _TINY, of_seeds, 0)  # no rounding decides whether it counts
        uncertain, fewest = np.where(of_seeds > 0, self._uncertain_seeds, 0), self._fewest
        if lent is not None:
            loan = G * np.maximum(lent.value, 0)
            larger = loan > of_seeds * (1 + 1e-9) + _TINY
            uncertain = np.where(larger, loan**2 / lent.freedom, uncertain)
            fewest = np.where(larger, min(lent.freedom, max(G - 1, 1)), fewest)
            of_seeds = np.where(larger, loan, of_seeds)
        return self._mean(of_groups + of_seeds, uncertain + of_groups**2 / max(G - 1, 1), fewest)

    def difference(self, lent: SeedVariance | None = None) -> Mean:
        """As `mean`, of a table of differences between two arms.

        With `ENOUGH` seeds it goes by its own squares alone, and components may come out below 0: no caution is needed
        any more for two seeds that happen to agree, and what is cut off at 0 is too large on average, which costs
        power. The sum is no less than a quarter of what the rest alone makes of it, so that luck cannot leave none.

        Args:
            lent: taken where there are fewer seeds.
        """
        if self.seeds < ENOUGH:
            return self.mean(lent)
        total = np.maximum(self.by_group + self.by_seed - self.rest, self.rest / 4)
        uncertain = self._uncertain_seeds + self.by_group**2 / max(self.groups - 1, 1)
        return self._mean(total, uncertain, self._fewest)

    @property
    def _uncertain_seeds(self) -> Floats:
        """Squares over degrees of freedom of the mean squares that the variance between seeds is made of."""
        S, G = self.seeds, self.groups
        if S == 1:
            return np.zeros_like(self.value)
        return self.by_seed**2 / (S - 1) + self.rest**2 / ((S - 1) * max(G - 1, 1))

    @property
    def _fewest(self) -> Floats:
        """The degrees of freedom of the mean square that has fewest."""
        free = max(self.groups - 1, 1)
        return np.full_like(self.value, free if self.seeds == 1 else min(free, self.seeds - 1))

    def _mean(self, total: Floats, uncertain: Floats, fewest: Floats) -> Mean:
        S, G = self.seeds, self.groups
        freedom = np.divide(total**2, uncertain, out=np.array(fewest), where=uncertain > 0)
        skewed = 2 / (2 / max(G - 1, 1) + self.excess / G)
        return Mean(self.value, total / (S * G), np.maximum(freedom, fewest), G, self.alike, skewed)


def lent(tables: Iterable[Components]) -> SeedVariance | None:
    """The mean of the tables' variances between seeds, weighted by seeds - 1; None where all have one seed."""
    known = [table for table in tables if table.seeds > 1]
    freedom = sum(table.seeds - 1 for table in known)
    if not freedom:
        return None
    return SeedVariance(sum(table.seed_variance * (table.seeds - 1) for table in known) / freedom, freedom)


def components(table: ArrayLike) -> Components:
    """Mean and mean squares of tables (..., S, G), seeds × groups.

    Raises:
        ValueError: a table without a seed or a group.
    """
    cells = np.asarray(table, dtype=np.float64)
    if cells.ndim < 2 or 0 in cells.shape[-2:]:
        raise ValueError(f"a table must be (..., S, G) with S and G of 1 or more, not {cells.shape}")
    S, G = cells.shape[-2:]
    value, rows, columns = cells.mean((-2, -1)), cells.mean(-1), cells.mean(-2)
    lowest, highest = cells.min((-2, -1)), cells.max((-2, -1))
    by_group = S * ((columns - value[..., None]) ** 2).sum(-1) / (G - 1) if G > 1 else np.full_like(value, np.nan)
    by_seed = rest = np.zeros_like(value)
    if S > 1:
        by_seed = G * ((rows - value[..., None]) ** 2).sum(-1) / (S - 1)
    if S > 1 and G > 1:
        left = cells - rows[..., :, None] - columns[..., None, :] + value[..., None, None]
        rest = (left**2).sum((-2, -1)) / ((S - 1) * (G - 1))
    alike = (highest - lowest <= _TINY) & (G > 1)
    off = columns - value[..., None]
    second, fourth = (off**2).mean(-1), (off**4).mean(-1)
    kurtosis = np.divide(fourth, second**2, out=np.zeros_like(value), where=second > _TINY)
    return Components(value, by_group, by_seed, rest, S, G, alike, np.maximum(kurtosis - 3, 0))


def group_table(scores: ArrayLike, groups: Sequence[object] | None = None) -> Floats:
    """Scores (S, P) of problems as a table (S, G) of their groups, with the same means over seeds.

    Columns come in an order that depends on their content alone, since floating-point sums depend on the order.

    Args:
        scores: a row a seed, a column a problem.
        groups: (P,) hashable labels; None makes every problem a group of its own.

    Raises:
        ValueError: no scores, or not one group per problem.
    """
    rows = np.asarray(scores, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"scores must be (S, P) with S and P of 1 or more, not {rows.shape}")
    if groups is not None and len(groups) != rows.shape[1]:
        raise ValueError(f"{rows.shape[1]} scores, but {len(groups)} groups")
    members: dict[object, list[int]] = {}
    for place, label in enumerate(range(rows.shape[1]) if groups is None else groups):
        members.setdefault(label, []).append(place)
    blocks = sorted(sorted(rows.T[places].tolist()) for places in members.values())
    sums = np.array([np.sum(block, axis=0) for block in blocks]).T
    return balanced(sums, [len(block) for block in blocks])


def balanced(sums: Floats, sizes: ArrayLike) -> Floats:
    """Sums (..., S, G) of scores over groups of unequal sizes as a table whose cells count alike.

    A group counts by its number of problems, so a cell is not the group's mean but the overall mean plus what the
    group's problems lie off it in all, on the scale of a group of average size: the linearised ratio estimate
    (Cochran 1977, "Sampling Techniques", chapter 9). With groups of one size it is the group's mean.
    """
    counts = np.asarray(sizes, dtype=np.float64)
    mean = sums.sum((-2, -1), keepdims=True) / counts.sum() / sums.shape[-2]
    cells: Floats = mean + len(counts) / counts.sum() * (sums - counts * mean)
    return cells


def _unlike(groups: int, confidence: float) -> float:
    """The share of groups that may differ though G are alike: the exact binomial bound 1 - tail^(1/G)."""
    return 1.0 - ((1 - confidence) / 2) ** (1 / groups)


def score_interval(
    mean: Mean, bounds: tuple[float, float] = (0.0, 1.0), confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The interval of a mean score: Wilson's, with the effective sample size.

    The variance says how many independent trials n the mean is worth, m(1 - m)/n; all means θ are in the interval
    for which m lies within t standard errors of θ, √(θ(1 - θ)/n) (Wilson 1927; Franco et al. 2019 for clusters).
    It never leaves the bounds, and it is right near them, where a mean ± t standard errors is not. t has no more than
    `skewed` degrees of freedom. (Differences do without: what few groups carry is much the same in both arms.)

    Where every cell is alike there is no variance. Then the ends are those of an exact binomial (Clopper-Pearson)
    bound on groups: were more than a share b = 1 - tail^(1/G) of all groups different, G equal ones would be a
    rare sight; so the mean may lie as far out as a share b at the bounds would pull it. 0 of 20 is 0 to 16.8%.

    Args:
        mean: from `Components.mean`.
        bounds: least and greatest possible score.
        confidence: coverage that is aimed at.

    Returns:
        Low and high ends; NaN where there is one group.
    """
    bottom, top = bounds
    span = top - bottom or 1.0  # without a span all cells are alike
    share = (mean.value - bottom) / span
    square = stdtrit(np.minimum(mean.freedom, mean.skewed), (1 + confidence) / 2) ** 2
    spread = share * (1 - share)  # of one trial; over the variance it is n
    scarce = square * np.divide(mean.variance / span**2, spread, out=np.full_like(spread, np.nan), where=spread > 0)
    center = (share + scarce / 2) / (1 + scarce)
    half = np.sqrt(scarce * spread + scarce**2 / 4) / (1 + scarce)
    b = _unlike(mean.groups, confidence)
    low = np.where(mean.alike, share * (1 - b), np.maximum(center - half, 0))
    high = np.where(mean.alike, share + b * (1 - share), np.minimum(center + half, 1))
    return bottom + low * span, bottom + high * span


def difference_interval(mean: Mean, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """The interval of a mean difference of scores in [0, 1]: Student's t, cut at -1 and 1.

    Where every cell is alike the ends are those of `score_interval` with these bounds.
    """
    half = stdtrit(mean.freedom, (1 + confidence) / 2) * np.sqrt(mean.variance)
    b = _unlike(mean.groups, confidence)
    low = np.where(mean.alike, mean.value - b * (1 + mean.value), np.maximum(mean.value - half, -1))
    high = np.where(mean.alike, mean.value + b * (1 - mean.value), np.minimum(mean.value + half, 1))
    return low, high


def two_sided_p(mean: Mean) -> Floats:
    """p of a mean difference, of the null that it is 0; NaN where there is one group.

    It agrees with `difference_interval`: below 5% where the 95% interval leaves 0 out. With all cells alike at
    ±1 it is the sign test over groups, 2 · 2^-G.
    """
    error = np.sqrt(mean.variance)
    ratio = np.divide(np.abs(mean.value), error, out=np.zeros_like(error), where=error > 0)
    student = np.where(np.isnan(error), np.nan, 2 * stdtr(mean.freedom, -ratio))
    return np.where(mean.alike, np.minimum(1, 2 * (1 + np.abs(mean.value)) ** -float(mean.groups)), student)
