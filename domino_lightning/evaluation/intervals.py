"""Intervals of mean scores and of their differences, and the test of a difference. No torch.

Each end of an interval is a mean that the data just fail to rule out, so each goes by how the data would vary if
that were the mean: towards 0 few groups would be solved, or as many lost as won, and away from it all may hang on the
few groups that happen to be in the sample.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

from domino_lightning.evaluation.crossed import Components, Floats, Mean, SeedSquares

CONFIDENCE = 0.95
UNSURE = 0.25  # how much what kurtosis says of a variance counts
_FEWEST = 2.4  # normal differences that any are worth at least: three groups of more are then not enough for the test


def score_interval(
    table: Components,
    lent: SeedSquares | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats]:
    """The interval of a mean score: Wilson's, with the effective sample size.

    The variance says how many independent trials n the mean is worth, m(1 - m)/n; all means θ are in the interval
    for which m lies within t standard errors of θ, √(θ(1 - θ)/n) (Wilson 1927; Franco et al. 2019 for clusters).
    It never leaves the bounds, and it is right near them, where a mean ± t standard errors is not. With one seed and
    groups that are all or nothing it is Wilson's as published, with n their number: the mean tells the variance, and
    t is normal. Otherwise two things more matter near a bound:

    - The end towards the middle says what scores could have been this low (or high). A low score with a small
      variance go together, as few groups carry both, so t has no more than `_skewed` degrees of freedom; but the end
      is no farther out than if groups were all or nothing.
    - A low θ is ruled out by scores that are too high. Scores that are too low for it there are none as long as no
      group is solved under it with a chance, (1 - θ)ⁿ, of one tail or more; then both tails are for scores that are
      too high (Blaker 2000, "Confidence curves and improved exact confidence intervals for discrete distributions").
      n is no less here than makes the groups that lie above the mean. For a high θ the same the other way round.

    Where every cell is alike there is no variance. Then the ends are those of an exact binomial (Clopper-Pearson)
    bound on groups: were more than a share b = 1 - tail^(1/G) of all groups different, G equal ones would be a
    rare sight; so the mean may lie as far out as a share b at the bounds would pull it. 0 of 20 is 0 to 16.8%.

    Args:
        table: scores.
        lent: what comparable tables have between seeds.
        bounds: least and greatest possible score.
        confidence: coverage that is aimed at.

    Returns:
        Low and high ends; NaN where there is one group.
    """
    bottom, top = bounds
    span = top - bottom or 1.0  # without a span all cells are alike
    mean, tail = table.mean(lent), (1 - confidence) / 2
    share = (mean.value - bottom) / span
    spread = share * (1 - share)  # of one trial; over the variance it is n
    error = np.divide(mean.variance / span**2, spread, out=np.full_like(spread, np.nan), where=spread > 0)
    least = 1 / max(table.groups - 1, 1)  # where groups are all or nothing, as their variance has G - 1 below it
    told = (table.seeds == 1) & np.isclose(error, least, rtol=1e-9, atol=0)
    error, freedom = np.where(told, 1 / table.groups, error), np.where(told, np.inf, mean.freedom)
    skewed = np.minimum(freedom, _skewed(table, spread * span**2))

    def low_end(share: Floats, above: Floats) -> Floats:
        """The low end of a share; the high end is that of what is left of it."""
        few = share >= 0.5 - 1e-9  # at the middle both ends, whichever way it is rounded

        def end(level: float) -> Floats:
            known, guess = (error * stdtrit(each, 1 - level) ** 2 for each in (freedom, skewed))
            whole = stdtrit(np.inf, 1 - level) ** 2 / table.groups  # of groups that are all or nothing
            return _wilson(share, np.where(few, np.clip(guess, known, np.maximum(known, whole)), known))

        two, one = end(tail), end(2 * tail)
        trials = np.fmax(1 / error, table.groups * above / share)
        return np.where(told, two, np.clip(1 - tail ** (1 / trials), two, one))

    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = low_end(share, table.shape.above), 1 - low_end(1 - share, table.shape.below)
    b = _unlike(table.groups, confidence)
    low = np.where(table.alike, share * (1 - b), low)
    high = np.where(table.alike, share + b * (1 - share), high)
    return bottom + low * span, bottom + high * span


def difference_interval(
    table: Components, lent: SeedSquares | None = None, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The interval of a mean difference of scores in [0, 1], cut at -1 and 1.

    The end towards 0 is that of `two_sided_p`. The other is Student's t, with no more than `_skewed` degrees of
    freedom, but no farther out than if groups differed by 0 or ±1. Where every cell is alike the ends are those of
    `score_interval` with these bounds.

    Args:
        table: differences.
        lent: what comparable tables have between seeds.
        confidence: coverage that is aimed at.

    Returns:
        Low and high ends; NaN where there is one group.
    """
    value, inner, outer = table.value, _against_zero(table, lent, confidence), table.mean(lent)
    level = (1 + confidence) / 2
    whole = table.shape.size - value**2  # the variance between groups that were 0 or ±1, as many lost and won
    near = stdtrit(inner.freedom, level) * np.sqrt(inner.variance)
    known, guess = (
        stdtrit(freedom, level) * np.sqrt(outer.variance)
        for freedom in (outer.freedom, np.minimum(outer.freedom, _skewed(table, whole)))
    )
    most = stdtrit(np.inf, level) * np.sqrt(np.maximum(whole, 0) / table.groups)
    far = np.clip(guess, known, np.maximum(known, most))
    b = _unlike(table.groups, confidence)
    low = np.maximum(value - np.where(value > 0, near, far), -1)
    high = np.minimum(value + np.where(value < 0, near, far), 1)
    return np.where(table.alike, value - b * (1 + value), low), np.where(table.alike, value + b * (1 - value), high)


def two_sided_p(table: Components, lent: SeedSquares | None = None) -> Floats:
    """p of a mean difference, of the null that it is 0; NaN where there is one group.

    Student's t, but for what is known of the null: two equal arms differ in a group by chance, so the signs of the
    groups' differences could as well have been others. Over all signs the ratio of the squared sum to the sum of
    squares has the excess kurtosis -2/n, with n the number of groups of one size that differ (`Shape.differing`). So
    has that of N = 3n - 2 normal differences: few groups that differ make outliers rarer, not more frequent, and t is
    theirs (Box and Andersen 1955, "Permutation theory in the derivation of robust criteria"). Of normal differences
    N is G, and this is Student's t over groups. It is never more than that, and no less than what leaves three groups
    of more too few.

    p agrees with the 95% interval, below 5% where that leaves 0 out. Lower ones are Student's with the variance that
    is right at 5%, as no approximation by four moments is good in the tails of few signs.

    With all cells alike at ±1 p is that of the sign test over groups, 2 · 2^-G.

    Args:
        table: differences.
        lent: what comparable tables have between seeds.
    """

    def student(level: Floats | float) -> Floats:
        """p by the variance that is right at this level."""
        mean = _against_zero(table, lent, 1 - level)
        error = np.sqrt(mean.variance)
        ratio = np.divide(np.abs(mean.value), error, out=np.zeros_like(error), where=error > 0)
        return np.where(np.isnan(error), np.nan, 2 * stdtr(mean.freedom, -ratio))

    lowest = 1 - CONFIDENCE
    low, high = np.full_like(table.value, lowest), np.ones_like(table.value)
    for _ in range(24):  # to where p is its own level
        level = (low + high) / 2
        above = student(level) > level
        low, high = np.where(above, level, low), np.where(above, high, level)
    p = student(lowest)
    p = np.where(p > lowest, low, p)
    return np.where(table.alike, np.minimum(1, 2 * (1 + np.abs(table.value)) ** -float(table.groups)), p)


def _against_zero(table: Components, lent: SeedSquares | None, confidence: Floats | float) -> Mean:
    """The mean with the variance whose t is that of the groups' signs, see `two_sided_p`."""
    G = float(table.groups)
    normal = np.clip(3 * table.shape.differing - 2, min(_FEWEST, G), G)

    def reach(count: Floats | float) -> Floats:
        """The squared mean over the variance of groups at which so many normal differences are just not 0."""
        square = stdtrit(count - 1, (1 + confidence) / 2) ** 2
        ratio = count * square / (count - 1 + square)  # the squared sum over the sum of squares
        reached: Floats = ratio / (G - ratio)
        return reached

    return table.mean(lent, reach(normal) / reach(G) if G > 1 else 1.0)


def _skewed(table: Components, whole: Floats) -> Floats:
    """Degrees of freedom at most of the variance between groups where few of them carry it.

    The variance of a sample variance is σ⁴ (2/(G - 1) + κ/G) with κ the excess kurtosis (Cramér 1946, section 27.4),
    so that of a normal has G - 1. Where 2 of 100 groups are ever solved it is known as badly as a count of 2 is. But
    groups that are all or nothing have the variance that their mean tells, whatever their kurtosis: κ counts the more
    the less the groups vary. (The intervals do not let it count for more than groups that are all or nothing would
    vary.) The factor `UNSURE` is what `benchmarks/coverage.py` finds right.

    Args:
        table: of what.
        whole: the variance between groups that were all or nothing, with this mean.
    """
    G = table.groups
    ratio = np.divide(whole * table.seeds, table.by_group, out=np.ones_like(whole), where=table.by_group > 0)
    return 2 / (2 / max(G - 1, 1) + UNSURE * np.maximum(ratio - 1, 0) * table.shape.excess / G)


def _wilson(share: Floats, scarce: Floats) -> Floats:
    """The low end of a share where t² standard errors squared, over m(1 - m), are `scarce`."""
    center, half = share + scarce / 2, np.sqrt(scarce * share * (1 - share) + scarce**2 / 4)
    return np.maximum((center - half) / (1 + scarce), 0)


def _unlike(groups: int, confidence: float) -> float:
    """The share of groups that may differ though G are alike: the exact binomial bound 1 - tail^(1/G)."""
    return 1.0 - ((1 - confidence) / 2) ** (1 / groups)
