"""The mean of scores in which problems and seeds are crossed, and its variance. No torch.

Every seed of an arm answers the same problems, so scores are a table of seeds × groups of problems with two random
effects and a rest (Searle, Casella and McCulloch 1992, "Variance Components", chapter 4): what is claimed of its
mean holds for new problems and for new seeds. Leading axes of a table are independent tables, computed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, fdtri

ENOUGH = 6  # seeds that tell the variance between them by themselves
OUTLYING = 0.1  # the level of the test that leaves an arm out of what arms lend
CAUTION = 4.25  # how much more than once what a single table with two seeds lends counts
BELOW = 0.5  # how far below 0 a variance between seeds counts, over the rest
_TINY = 1e-12  # below it two numbers are equal but for rounding

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Mean(NamedTuple):
    """A mean with what is known of its error; arrays of equal shape, or scalars.

    Attributes:
        value: the mean.
        variance: its variance over new groups and new seeds; NaN where there is one group.
        freedom: degrees of freedom of the variance.
    """

    value: Floats
    variance: Floats
    freedom: Floats


class Shape(NamedTuple):
    """How the means of a table's groups, over its seeds, are distributed; arrays or scalars.

    Attributes:
        size: mean of their absolute values.
        excess: kurtosis above a normal's, unbiased for a normal (G₂ of Joanes and Gill 1998, "Comparing measures of
            sample skewness and kurtosis"); 0 where it is below.
        differing: how many means of one size the ones that differ from 0 are worth, (Σm²)² / Σm⁴: of G normal ones
            about G/3.
        above: share of groups above the mean.
        below: share of groups below the mean.
    """

    size: Floats
    excess: Floats
    differing: Floats
    above: Floats
    below: Floats


class SeedSquares(NamedTuple):
    """What comparable tables know of the variance between seeds: mean squares over groups, arrays or scalars.

    Attributes:
        by_seed: the mean square between seeds, over the number of groups.
        rest: of the rest, over the number of groups; the difference of both is the variance.
        freedom: degrees of freedom of `by_seed`.
    """

    by_seed: Floats | float
    rest: Floats | float
    freedom: Floats | float


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
        shape: of the groups' means.
    """

    value: Floats
    by_group: Floats
    by_seed: Floats
    rest: Floats
    seeds: int
    groups: int
    alike: Flags
    shape: Shape

    @property
    def seed_variance(self) -> Floats:
        """The unbiased estimate of s, which may be below 0; NaN with one seed."""
        return (self.by_seed - self.rest) / self.groups if self.seeds > 1 else np.full_like(self.value, np.nan)

    def mean(self, lent: SeedSquares | None = None, between: Floats | float = 1.0) -> Mean:
        """The mean with its variance, g/G + s/S + e/(G·S).

        The degrees of freedom are Satterthwaite's (1946), of the mean squares that the variance is a sum of, and
        never below those of the mean square that has fewest.

        The mean square between seeds is too low more often than not, of two seeds by more than half. Student's t
        makes up for that where seeds are all of the variance; here they are a part, so it is taken over the median of
        its distribution, which is right as often too high as too low. And an estimate below 0, which is as likely as
        one above where seeds do not differ, counts, down to `BELOW` of the rest, with the degrees of freedom of 0.
        However low the mean squares come out, the variance is a quarter of what the rest alone makes of it.

        Below `ENOUGH` seeds what comparable tables lend is taken where it is larger: two seeds that happen to agree
        hide how much they vary. (A noisy arm among quiet ones keeps its own.) The own mean square then counts with
        twice its degrees of freedom, which is no theory's either, see `lent`.

        Args:
            lent: of comparable tables, from the function `lent`.
            between: a factor on the mean square between groups (`intervals.two_sided_p`).
        """
        S, G = self.seeds, self.groups
        free, of_groups = float(max(S - 1, 1)), float(max(G - 1, 1))
        by_group, by_seed, rest = self.by_group * between, self.by_seed / _median(free), self.rest
        known = np.full_like(self.value, free)
        if lent is not None and S < ENOUGH:
            free *= 2
            own = by_seed - rest
            larger = G * (np.asarray(lent.by_seed) - lent.rest) > own + 1e-9 * np.abs(own) + _TINY
            by_seed = np.where(larger, G * lent.by_seed, by_seed)
            rest = np.where(larger, G * lent.rest, rest)
            known = np.where(larger, lent.freedom, known)
        of_seeds = by_seed - rest
        counts = of_seeds > _TINY  # no rounding decides whether it does
        least = self.rest / 4
        total = np.maximum(by_group + np.maximum(of_seeds, -BELOW * self.rest), least)
        certain = by_group + np.where(counts, of_seeds, 0)
        raised = np.maximum(least - certain, 0)  # by the rest, which has (S - 1)(G - 1) degrees of freedom
        uncertain = by_group**2 / of_groups + raised**2 / (of_groups * max(S - 1, 1))
        uncertain += np.where(counts, (by_seed**2 + rest**2 / of_groups) / known, 0)
        fewest = np.where(counts, np.minimum(np.maximum(known, free), of_groups), of_groups)
        freedom = np.divide((certain + raised) ** 2, uncertain, out=fewest.copy(), where=uncertain > 0)
        return Mean(self.value, total / (S * G), np.maximum(freedom, fewest))


def lent(tables: Iterable[Components]) -> SeedSquares | None:
    """What tables with several seeds have between them on average; None where all have one seed.

    A table that varies more between seeds than the others do, by an F test at `OUTLYING`, lends nothing: it would
    make all others unsure. And few seeds of few tables lend with caution, since tables that all look quiet may hide
    that one is not: the mean square counts 1 + `CAUTION`/(n·d³) times, n the number of tables and d the degrees of
    freedom of the one with most seeds; of three differences 2.4 times with two seeds, 1.2 times with three. These
    constants and `BELOW` are no theory's, they are what `benchmarks/coverage.py` finds right.

    Args:
        tables: of comparable arms, or of their differences from a baseline.
    """
    known = [table for table in tables if table.seeds > 1]
    if not known:
        return None
    freedom = np.array([table.seeds - 1 for table in known], dtype=np.float64)
    square = np.array([table.by_seed / table.groups for table in known])
    rest = np.array([table.rest / table.groups for table in known])
    weight = np.ones_like(square) * freedom.reshape(-1, *(1,) * (square.ndim - 1))
    if len(known) > 1:
        left = weight.sum(0) - weight
        others = ((weight * square).sum(0) - weight * square) / left
        outlying = square > fdtri(weight, left, 1 - OUTLYING) * others
        weight = np.where(outlying & (others > _TINY), 0, weight)  # seeds that agree to the last are a coarse score's
    total = weight.sum(0)
    caution = 1 + CAUTION / len(known) / max(freedom) ** 3
    return SeedSquares(caution * (weight * square).sum(0) / total, (weight * rest).sum(0) / total, total)


def _median(freedom: float) -> float:
    """Of a mean square whose expectation is 1: 0.45 with one degree of freedom, 0.93 with nine (chi-squared)."""
    return float(chdtri(freedom, 0.5) / freedom)


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
    return Components(value, by_group, by_seed, rest, S, G, alike, _shape(columns, value))


def _shape(columns: Floats, value: Floats) -> Shape:
    """Of the means (..., G) of groups, and theirs."""
    G = columns.shape[-1]
    off = columns - value[..., None]
    second, fourth = (off**2).mean(-1), (off**4).mean(-1)
    excess = np.divide(fourth, second**2, out=np.full_like(value, 3), where=second > _TINY) - 3
    if G > 3:  # the plain moments of few groups are too low
        excess = np.where(second > _TINY, (G - 1) / ((G - 2) * (G - 3)) * ((G + 1) * excess + 6), 0)
    squares, fourths = (columns**2).sum(-1), (columns**4).sum(-1)
    differing = np.divide(squares**2, fourths, out=np.full_like(value, (G + 2) / 3), where=squares > _TINY)
    above, below = ((side * off > _TINY).mean(-1) for side in (1, -1))
    return Shape(np.abs(columns).mean(-1), np.maximum(excess, 0), differing, above, below)


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
