"""Components of variance: against hand-derived values, enumeration and definitions."""

from __future__ import annotations

import itertools
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import fdtri
from scipy.stats import kurtosis

from domino_lightning.evaluation.crossed import (
    Components,
    SeedSquares,
    Shape,
    balanced,
    components,
    group_table,
    lent,
)

TABLES = st.tuples(st.integers(1, 4), st.integers(2, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(-3, 3), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


def test_mean_squares_by_hand() -> None:
    """Rows 2/3 and 0, columns 1/2, 1/2, 0, mean 1/3."""
    found = components([[1, 1, 0], [0, 0, 0]])
    assert found.value == pytest.approx(1 / 3)
    assert found.by_seed == pytest.approx(3 * 2 * (1 / 3) ** 2)
    assert found.by_group == pytest.approx(2 * (2 * (1 / 6) ** 2 + (1 / 3) ** 2) / 2)
    # Off both: 1 - 2/3 - 1/2 + 1/3 = 1/6 twice, 0 - 2/3 - 0 + 1/3 = -1/3, and the opposite in the second row.
    assert found.rest == pytest.approx(2 * (2 * (1 / 6) ** 2 + (1 / 3) ** 2) / 2)
    assert found.seed_variance == pytest.approx((2 / 3 - 1 / 6) / 3)


def test_components_are_unbiased_over_every_table_of_random_signs() -> None:
    """Seeds ±2, groups ±1, a rest of ±3, all 2^10 tables of 2 × 3 (one sign of two seeds, three groups, six cells)."""
    seeds, groups, rests = (list(itertools.product((-1, 1), repeat=n)) for n in (2, 3, 6))
    tables = [
        2 * np.array(a)[:, None] + np.array(b) + 3 * np.array(e).reshape(2, 3)
        for a, b, e in itertools.product(seeds, groups, rests)
    ]
    found = components(np.array(tables))
    assert found.seed_variance.mean() == pytest.approx(4)
    assert found.rest.mean() == pytest.approx(9)
    assert found.by_group.mean() == pytest.approx(9 + 2 * 1)
    unbiased = (found.by_group + found.by_seed - found.rest) / 6
    assert unbiased.mean() == pytest.approx((found.value**2).mean())


def test_one_seed_has_the_variance_between_groups() -> None:
    found = components([[1, 0, 0, 1, 1]])
    mean = found.mean()
    assert mean.variance == pytest.approx(np.var([1, 0, 0, 1, 1], ddof=1) / 5)
    assert mean.freedom == 4
    assert isnan(found.seed_variance)


def squares(by_group: float, by_seed: float, rest: float, seeds: int = 3, groups: int = 11) -> Components:
    values = (np.array(each, dtype=np.float64) for each in (0.2, by_group, by_seed, rest))
    shape = Shape(*(np.array(each) for each in (0.2, 0.0, groups / 3, 0.5, 0.5)))
    return Components(*values, seeds, groups, np.array(False), shape)  # type: ignore[call-arg]


# Medians of chi-squared over one, two, three, four and nine degrees of freedom, from tables.
MEDIANS = {2: 0.45494, 3: 0.69315, 4: 0.78866, 5: 0.83917, 10: 0.92703}


@pytest.mark.parametrize("seeds", sorted(MEDIANS))
def test_the_mean_square_of_seeds_counts_over_its_median_with_satterthwaites_freedom(seeds: int) -> None:
    mean = squares(0.3, 0.5, 0.1, seeds=seeds).mean()
    by_seed = 0.5 / MEDIANS[seeds]
    assert mean.variance == pytest.approx((0.3 + by_seed - 0.1) / (11 * seeds), rel=1e-4)
    free = seeds - 1
    freedom = (0.2 + by_seed) ** 2 / (0.3**2 / 10 + by_seed**2 / free + 0.1**2 / (10 * free))
    assert mean.freedom == pytest.approx(max(freedom, free), rel=1e-4)


def test_a_variance_between_seeds_is_too_low_as_often_as_too_high() -> None:
    """Seeds alone differ, so the rest is 0 and the estimate is the mean square over its median."""
    dice = np.random.default_rng(0)
    for seeds in (2, 3, 6):
        effects = dice.standard_normal((40_000, seeds, 1))
        mean = components(effects + np.arange(3)).mean()  # three groups, 0, 1, 2 with the variance 1: 1/3 of the mean
        estimates = seeds * (np.asarray(mean.variance) - 1 / 3)
        assert np.mean(estimates > 1) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_a_variance_of_seeds_below_zero_counts_in_part_with_the_freedom_of_none(seeds: int) -> None:
    low = 0.05 * MEDIANS[seeds]  # of which 0.05 is made; unbiased, 0.05 - 0.2 would be added
    mean = squares(0.3, low, 0.2, seeds=seeds).mean()
    assert mean.variance == pytest.approx((0.3 - 0.5 * 0.2) / (11 * seeds))
    assert mean.freedom == pytest.approx(10)
    slightly = squares(0.3, 0.19 * MEDIANS[seeds], 0.2, seeds=seeds).mean()
    assert slightly.variance == pytest.approx((0.3 + 0.19 - 0.2) / (11 * seeds), rel=1e-4)


def test_luck_leaves_a_quarter_of_what_the_rest_makes_of_the_variance() -> None:
    mean = squares(0.02, 0.05, 0.1).mean()
    assert mean.variance == pytest.approx(0.1 / 4 / 33)
    assert mean.freedom == pytest.approx(0.025**2 / (0.02**2 / 10 + 0.005**2 / 20))  # the rest has 20
    assert squares(0.0, 0.05, 0.1).mean().freedom == pytest.approx(20)
    assert squares(1e-30, 0.05, 0.1).mean().freedom == pytest.approx(20)


def test_degrees_of_freedom_are_no_fewer_than_the_fewest_of_a_part() -> None:
    assert squares(0.05, 9.0, 0.1, seeds=2).mean().freedom == pytest.approx(1, abs=0.02)
    assert squares(0.05, 0.101 * MEDIANS[2], 0.1, seeds=2).mean().freedom == 1


def test_an_arm_with_one_seed_borrows_the_variance_between_seeds() -> None:
    found = components([[1, 0, 0, 1, 1]])
    alone, borrowed = found.mean(), found.mean(SeedSquares(0.03, 0.01, 4))
    assert borrowed.variance == pytest.approx(alone.variance + 0.02)
    parts = [float(alone.variance) ** 2 / 4, 0.03**2 / 4, 0.01**2 / (4 * 4)]
    assert borrowed.freedom == pytest.approx((float(alone.variance) + 0.02) ** 2 / sum(parts))
    assert found.mean(SeedSquares(0.01, 0.03, 4)) == alone


def test_a_larger_variance_of_the_other_arms_replaces_an_arms_own_and_a_smaller_one_does_not() -> None:
    table = squares(0.3, 0.5 * MEDIANS[3], 0.1)  # own: (0.5 - 0.1) / 11
    larger = table.mean(SeedSquares(0.12, 0.02, 8))
    assert larger.variance == pytest.approx((0.3 + 11 * 0.1) / 33)
    assert larger.freedom == pytest.approx(1.4**2 / (0.3**2 / 10 + 1.32**2 / 8 + 0.22**2 / 80))
    alone = table.mean()
    for lower in (0.399 / 11, 0.03, -1.0):
        kept = table.mean(SeedSquares(lower + 0.02, 0.02, 8))
        assert (kept.variance, kept.freedom) == (alone.variance, max(4, alone.freedom))  # twice its own two


def test_no_step_in_an_interval_where_what_others_lend_becomes_the_larger() -> None:
    table = squares(0.3, 0.5, 0.1)
    own = (0.5 / MEDIANS[3] - 0.1) / 11
    below, above = (table.mean(SeedSquares(own * factor + 0.02, 0.02, 4)) for factor in (0.9999, 1.0001))
    assert below.variance == pytest.approx(above.variance, rel=1e-3)


def test_beside_others_an_arms_own_degrees_of_freedom_count_twice() -> None:
    for seeds in (2, 3, 5):
        noisy = squares(0.05, 9.0, 0.1, seeds=seeds)
        assert noisy.mean().freedom < 1.1 * (seeds - 1)
        assert noisy.mean(SeedSquares(0.0, 0.0, 40)).freedom == 2 * (seeds - 1)
    lone = squares(0.05, 9.0, 0.1, seeds=3, groups=3)
    assert lone.mean(SeedSquares(0.0, 0.0, 40)).freedom == pytest.approx(2, abs=0.1)  # three groups tell no more


def test_an_arm_with_enough_seeds_borrows_nothing() -> None:
    table = squares(0.3, 0.05, 0.1, seeds=6)
    assert table.mean(SeedSquares(9.0, 0.1, 8)) == table.mean()
    assert squares(0.3, 0.05, 0.1, seeds=5).mean(SeedSquares(9.0, 0.1, 8)).variance > table.mean().variance


def test_arms_lend_their_mean_squares_by_seeds_less_one() -> None:
    found = lent([squares(0.3, 0.5, 0.1), squares(0.3, 0.2, 0.2, seeds=5), components([[1, 0, 0]])])
    assert found is not None and found.freedom == 6
    assert found.by_seed == pytest.approx((1 + 4.25 / (2 * 4**3)) * (2 * 0.5 + 4 * 0.2) / 11 / 6)
    assert found.rest == pytest.approx((2 * 0.1 + 4 * 0.2) / 11 / 6)
    assert lent([components([[1, 0, 0]])]) is None


def test_few_seeds_of_few_tables_lend_with_caution() -> None:
    def times(tables: int, seeds: int) -> float:
        found = lent([squares(0.3, 0.2, 0.1, seeds=seeds)] * tables)
        assert found is not None
        return float(found.by_seed) / (0.2 / 11)

    assert [times(count, 2) for count in (1, 3, 6)] == pytest.approx([5.25, 1 + 4.25 / 3, 1 + 4.25 / 6])
    assert [times(3, seeds) for seeds in (2, 3, 4)] == pytest.approx([1 + 4.25 / 3, 1 + 4.25 / 24, 1 + 4.25 / 81])


def test_an_arm_that_varies_more_than_the_others_lends_nothing() -> None:
    """Three arms, two degrees of freedom each: F(2, 4) is above 4.32 one time in ten."""
    assert fdtri(2, 4, 0.9) == pytest.approx(4.325, abs=1e-3)
    quiet = [squares(0.3, 0.2, 0.1), squares(0.3, 0.4, 0.1)]
    within, beyond = (lent([*quiet, squares(0.3, 0.3 * ratio, 0.1)]) for ratio in (4.3, 4.4))
    assert within is not None and within.freedom == 6
    assert within.by_seed == pytest.approx((1 + 4.25 / 24) * (0.6 + 0.3 * 4.3) / 3 / 11)
    assert beyond is not None and beyond.freedom == 4
    assert beyond.by_seed == pytest.approx((1 + 4.25 / 24) * 0.3 / 11)
    agreed = squares(0.3, 0.0, 0.0)  # a coarse score's seeds that agree to the last make no other arm an outlier
    both = lent([agreed, squares(0.3, 0.3, 0.1)])
    assert both is not None and both.freedom == 4
    noisy = squares(0.3, 9.0, 0.1)
    assert noisy.mean(lent([*quiet, noisy])).variance == noisy.mean().variance


def test_groups_of_unequal_size_have_the_variance_of_the_ratio_estimate() -> None:
    values, groups = [1.0, 0.0, 0.0, 1.0, 1.0, 0.5], list("aabccc")
    mean = components(group_table([values], groups)).mean()
    sums, sizes = np.array([1, 0, 2.5]), np.array([2, 1, 3])
    ratio = 3.5 / 6
    assert mean.value == pytest.approx(ratio)
    assert mean.variance == pytest.approx(3 / 2 * ((sums - ratio * sizes) ** 2).sum() / 6**2)
    # Column order depends on the content alone.
    assert sorted(balanced(sums[None], sizes)[0]) == pytest.approx(sorted(group_table([values], groups)[0]))


def test_groups_of_one_size_are_their_means_for_every_seed() -> None:
    table = group_table([[1, 0, 1, 1], [0, 0, 0, 1]], ["b", "a", "b", "a"])
    assert sorted(table.T.tolist()) == [[0.5, 0.5], [1.0, 0.0]]


@given(st.permutations(range(8)), st.booleans())
def test_the_order_of_problems_changes_no_bit(order: list[int], grouped: bool) -> None:
    values = np.array([[0.1, 0.2, 0.7, 0.3, 0.0, 1.0, 0.9, 0.1], [1, 0, 0, 1, 0, 1, 0, 1]])
    groups = list("abacbdae")
    shuffled = group_table(values[:, order], [groups[i] for i in order] if grouped else None)
    assert np.array_equal(shuffled, group_table(values, groups if grouped else None))


def test_tables_side_by_side_are_independent() -> None:
    tables = np.random.default_rng(0).random((4, 2, 3, 5))
    together, alone = components(tables), components(tables[3, 1])
    first, second = together.mean(), alone.mean()
    assert (first.variance[3, 1], first.freedom[3, 1]) == pytest.approx((second.variance, second.freedom))
    assert [float(each[3, 1]) for each in together.shape] == pytest.approx([float(each) for each in alone.shape])


@given(st.lists(st.integers(0, 4), min_size=4, max_size=9).filter(lambda row: len(set(row)) > 1))
def test_excess_is_the_unbiased_kurtosis_of_the_groups_or_none(row: list[int]) -> None:
    excess = float(components([row]).shape.excess)
    assert excess == pytest.approx(max(0.0, kurtosis(row, bias=False)), abs=1e-9)


def test_the_shape_of_group_means_by_hand() -> None:
    """Means over two seeds of 1, 0.5, -0.5, 0: of size 0.5, squares 1.5, fourth powers 1.125, two above 0.25."""
    shape = components([[1, 1, 0, 0], [1, 0, -1, 0]]).shape
    assert (shape.size, shape.differing) == (pytest.approx(0.5), pytest.approx(1.5**2 / 1.125))
    assert (shape.above, shape.below) == (0.5, 0.5)
    assert components(np.zeros((2, 7))).shape.differing == 3  # of which three are worth seven normal ones


def test_a_factor_between_groups_is_one_on_their_mean_square() -> None:
    table = squares(0.3, 0.5, 0.1)
    assert table.mean(between=0.5) == squares(0.15, 0.5, 0.1).mean()


def test_misshaped_tables_are_errors() -> None:
    for bad in ([], [1, 0], np.zeros((0, 2)), np.zeros((2, 0))):
        with pytest.raises(ValueError, match="of 1 or more"):
            components(bad)
        with pytest.raises(ValueError, match="of 1 or more"):
            group_table(bad)
    with pytest.raises(ValueError, match="2 scores, but 1 groups"):
        group_table([[0, 1]], ["a"])
