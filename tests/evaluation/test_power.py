"""Power: variances by hand, and the chance to see a difference against closed forms."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.stats import chi2, nct, norm, t

from domino_lightning.errors import UserError
from domino_lightning.evaluation.crossed import Components, Shape, components
from domino_lightning.evaluation.power import (
    MOST_SEEDS,
    Variances,
    power,
    seeds_needed,
    smallest_gain,
    variances,
)


def table(by_group: float, by_seed: float, rest: float, seeds: int, groups: int = 10) -> Components:
    values = (np.array(each, dtype=np.float64) for each in (0.1, by_group, by_seed, rest))
    return Components(*values, seeds, groups, np.array(False), Shape(*(np.array(0.0) for _ in range(5))))  # type: ignore[call-arg]


def test_variances_are_means_over_the_arms_by_their_seeds() -> None:
    found = variances([table(0.5, 0.3, 0.1, 2), table(0.7, 0.6, 0.1, 3), components([[1, 0, 1]])])
    # Between seeds: 0.2/10 with one degree of freedom, 0.5/10 with two; between groups 0.4/2 and 0.6/3.
    assert found.seeds == pytest.approx((0.02 + 2 * 0.05) / 3)
    assert (found.groups, found.rest, found.freedom) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert found.uncertain == pytest.approx(0.01)


def test_variances_below_zero_are_zero() -> None:
    found = variances([table(0.05, 0.05, 0.1, 2)])
    assert (found.seeds, found.groups) == (0, 0)


def test_the_upper_limit_of_the_variance_between_seeds_is_the_chi_squared_one() -> None:
    """The 10% quantile of chi-squared with 4 degrees of freedom is 1.0636."""
    assert Variances(0.02, 0, 0.1, 4, 0.01).most_seeds == pytest.approx(0.03 * 4 / 1.0636 - 0.01, rel=1e-3)


def test_a_pilot_with_one_seed_or_one_group_is_refused() -> None:
    for pilot in ([], [components([[1, 0, 1]])], [components([[1], [0]])]):
        with pytest.raises(UserError, match=r"seeds=\[0,1,2\]"):
            variances(pilot)


def test_power_with_one_seed_is_that_of_the_t_test_over_groups() -> None:
    found = Variances(0.5, 0.06, 0.04, 4, 0.001)  # the variance between seeds does not count with one
    off = 0.12 / sqrt(0.1 / 60)
    critical = t.ppf(0.975, 59)
    assert power(found, 0.12, 1, 60) == pytest.approx(nct.sf(critical, 59, off), abs=0.02)


def test_power_with_many_seeds_and_groups_is_that_of_a_normal_mean() -> None:
    found = Variances(0.01, 1.0, 1.0, 4, 0.001)
    sd = sqrt(0.01 / 40 + 1 / 800 + 1 / 32_000)
    assert power(found, 0.1, 40, 800) == pytest.approx(norm.sf(1.96 - 0.1 / sd), abs=0.03)


def test_with_few_seeds_that_differ_it_is_the_t_test_over_seeds() -> None:
    """Its error over the root of the median of chi-squared over its degrees of freedom, ln 2 with two of them.

    Of three seeds the difference has no less than what it lends itself, 49/32 of its mean square; its own degrees of
    freedom count twice.
    """
    found = Variances(0.01, 1e-9, 1e-9, 4, 0.001)
    for seeds, critical in ((3, t.ppf(0.975, 4) * sqrt(49 / 32)), (5, t.ppf(0.975, 8) / sqrt(chi2.median(4) / 4))):
        gain = 0.2 * sqrt(3 / seeds)
        off = gain / sqrt(0.01 / seeds)
        expected = nct.sf(critical, seeds - 1, off)
        assert power(found, gain, seeds, 50) == pytest.approx(expected, abs=0.03)


def test_the_seeds_needed_are_the_fewest_that_reach_the_power() -> None:
    found = Variances(0.001, 0.02, 0.3, 4, 0.001)
    needed = seeds_needed(found, 0.05, 200, 0.8)
    assert needed is not None and 2 < needed < MOST_SEEDS
    assert power(found, 0.05, needed, 200) >= 0.8 > power(found, 0.05, needed - 1, 200)
    more = seeds_needed(found, 0.05, 400, 0.8)
    assert more is not None and more < needed


def test_where_problems_alone_hide_the_difference_no_seeds_are_enough() -> None:
    assert seeds_needed(Variances(0, 1.0, 0.1, 4, 0.001), 0.03, 100, 0.8) is None


def test_the_smallest_gain_is_seen_with_the_power() -> None:
    found = Variances(0.001, 0.02, 0.3, 4, 0.001)
    least = smallest_gain(found, 5, 200, 0.8)
    assert least is not None
    assert power(found, least, 5, 200) >= 0.8 > power(found, least - 0.001, 5, 200)
    assert smallest_gain(Variances(9.0, 0.02, 0.3, 4, 0.001), 2, 200, 0.8) is None
