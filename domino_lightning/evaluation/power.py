"""How many seeds and problems a difference needs to be seen: from the variances of a pilot. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import chdtri

from domino_lightning.errors import UserError
from domino_lightning.evaluation.crossed import Components, Shape, lent
from domino_lightning.evaluation.intervals import difference_interval

LEVEL = 0.05
MOST_SEEDS = 50
_DRAWS = 4000


class TooFewSeeds(UserError):
    """A pilot that knows nothing of the variance between seeds."""


@dataclass(frozen=True)
class Variances:
    """Of a paired difference, for one seed and one group of problems of average size.

    Attributes:
        seeds: between seeds.
        groups: between groups of problems.
        rest: of what a seed does on a group beyond both, the luck of the draw included.
        freedom: degrees of freedom of `seeds`.
        uncertain: the variance that is added to `seeds` by what the pilot measures it with, the rest over its groups.
    """

    seeds: float
    groups: float
    rest: float
    freedom: int
    uncertain: float

    @property
    def most_seeds(self) -> float:
        """The upper 90% limit of `seeds`."""
        share = float(chdtri(self.freedom, 0.9)) / self.freedom
        return max((self.seeds + self.uncertain) / share - self.uncertain, 0.0)


def variances(pilot: Sequence[Components]) -> Variances:
    """The variances of a pilot's differences, means over its arms; none below 0.

    Args:
        pilot: the difference of every arm from the baseline; those with one seed are left out.

    Raises:
        TooFewSeeds: no difference with two seeds and two groups of problems.
    """
    tables = [one for one in pilot if one.seeds > 1 and one.groups > 1]
    if not tables:
        raise TooFewSeeds(
            "the pilot has no arm with two seeds in common with the baseline, and problems of two groups: nothing is "
            "known of the variance between seeds. Run it with seeds=[0,1,2]."
        )
    freedom = sum(one.seeds - 1 for one in tables)
    seeds = sum(float(one.seed_variance) * (one.seeds - 1) for one in tables) / freedom
    groups = sum(float(one.by_group - one.rest) / one.seeds for one in tables) / len(tables)
    rest = sum(float(one.rest) for one in tables) / len(tables)
    return Variances(max(seeds, 0.0), max(groups, 0.0), rest, freedom, rest / tables[0].groups)


def power(found: Variances, gain: float, seeds: int, groups: int) -> float:
    """The chance that the test of a sweep sees a true difference `gain` with so many seeds and groups.

    The mean squares and the mean are drawn from their distributions under normal effects, and the test itself is
    asked, that of one difference; so the price of few seeds, which know little of their variance, is in it. (Where
    there are more arms, what their differences have between seeds buys some back.) With one seed the test is of new
    problems alone. The draws are the same in every call.
    """
    dice = np.random.default_rng(0)
    S, G = seeds, groups

    def square(expected: float, freedom: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return expected * dice.chisquare(freedom, _DRAWS) / freedom if freedom else np.zeros(_DRAWS)

    spread = sqrt(found.groups / G + found.rest / (S * G) + (found.seeds / S if S > 1 else 0.0))
    value = gain + spread * dice.standard_normal(_DRAWS)
    by_group = square(found.rest + S * found.groups, G - 1)
    by_seed = square(found.rest + G * found.seeds, S - 1)
    rest = square(found.rest, (S - 1) * (G - 1))
    # The test asks of the groups' shape how many differences they are worth: normal ones, a third of their number.
    none = np.zeros(_DRAWS)
    shape = Shape(size=none, excess=none, differing=none + (G + 2) / 3, above=none, below=none)
    drawn = Components(value, by_group, by_seed, rest, S, G, none > 0, shape)
    low, high = difference_interval(drawn, lent([drawn]), 1 - LEVEL)  # they leave 0 out where the test rejects
    return float(np.mean(low > 0 if gain > 0 else high < 0))


def seeds_needed(found: Variances, gain: float, groups: int, wanted: float) -> int | None:
    """The fewest seeds, from 2, that see the gain with the wanted power; None where `MOST_SEEDS` do not."""
    if power(found, gain, MOST_SEEDS, groups) < wanted:
        return None
    few, enough = 1, MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        if power(found, gain, middle, groups) < wanted:
            few = middle
        else:
            enough = middle
    return enough


def smallest_gain(found: Variances, seeds: int, groups: int, wanted: float) -> float | None:
    """The smallest difference that so many seeds and groups see with the wanted power, to 0.1 points."""
    if power(found, 1.0, seeds, groups) < wanted:
        return None
    low, high = 0.0, 1.0
    while high - low > 0.0005:
        middle = (low + high) / 2
        if power(found, middle, seeds, groups) < wanted:
            low = middle
        else:
            high = middle
    return high
