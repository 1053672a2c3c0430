"""Components of variance, intervals and the test: against hand-derived values, enumeration and definitions."""

from __future__ import annotations

import itertools
from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import fdtri, stdtrit
from scipy.stats import kurtosis

from domino_lightning.evaluation.crossed import (
    Components,
    SeedSquares,
    balanced,
    components,
    difference_interval,
    group_table,
    lent,
    score_interval,
    two_sided_p,
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
    return Components(*values, seeds, groups, np.array(False), np.array(0.0))  # type: ignore[call-arg]


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
    assert mean.variance == pytest.approx((0.3 - 0.6 * 0.2) / (11 * seeds))
    assert mean.freedom == pytest.approx(10)
    slightly = squares(0.3, 0.19 * MEDIANS[seeds], 0.2, seeds=seeds).mean()
    assert slightly.variance == pytest.approx((0.3 + 0.19 - 0.2) / (11 * seeds), rel=1e-4)


def test_luck_leaves_a_quarter_of_what_the_rest_makes_of_the_variance() -> None:
    assert squares(0.02, 0.05, 0.1).mean().variance == pytest.approx(0.1 / 4 / 33)


def test_degrees_of_freedom_are_no_fewer_than_the_fewest_of_a_part() -> None:
    assert squares(0.05, 9.0, 0.1, seeds=2).mean().freedom == pytest.approx(1, abs=0.02)
    assert squares(0.05, 0.101 * MEDIANS[2], 0.1, seeds=2).mean().freedom == 1


def test_seeds_that_solve_different_groups_leave_no_certainty() -> None:
    """Rows and columns all have the same mean; what is left is the rest, a quarter of which counts."""
    mean = components([[1, 0], [0, 1]]).mean()
    assert mean.variance == pytest.approx(1 / 4 / 4)
    low, high = score_interval(mean)
    assert low < 0.5 < high


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
        assert (kept.variance, kept.freedom) == (alone.variance, max(4, alone.freedom))


def test_no_step_in_an_interval_where_what_others_lend_becomes_the_larger() -> None:
    table = squares(0.3, 0.5, 0.1)
    own = (0.5 / MEDIANS[3] - 0.1) / 11
    below, above = (table.mean(SeedSquares(own * factor + 0.02, 0.02, 4)) for factor in (0.9999, 1.0001))
    assert below.variance == pytest.approx(above.variance, rel=1e-3)


def test_beside_others_no_fewer_degrees_of_freedom_count_than_enough_seeds_have() -> None:
    noisy, lone = squares(0.05, 9.0, 0.1, seeds=2), squares(0.05, 9.0, 0.1, seeds=2, groups=3)
    assert noisy.mean().freedom < 1.1
    assert noisy.mean(SeedSquares(0.0, 0.0, 4)).freedom == 4
    assert lone.mean(SeedSquares(0.0, 0.0, 4)).freedom == pytest.approx(2)  # three groups tell no more


def test_an_arm_with_enough_seeds_borrows_nothing() -> None:
    table = squares(0.3, 0.05, 0.1, seeds=5)
    assert table.mean(SeedSquares(9.0, 0.1, 8)) == table.mean()
    assert squares(0.3, 0.05, 0.1, seeds=4).mean(SeedSquares(9.0, 0.1, 8)).variance > table.mean().variance


def test_arms_lend_their_mean_squares_by_seeds_less_one() -> None:
    found = lent([squares(0.3, 0.5, 0.1), squares(0.3, 0.2, 0.2, seeds=5), components([[1, 0, 0]])])
    assert found is not None and found.freedom == 6
    assert found.by_seed == pytest.approx((1 + 6 / (2 * 4**3)) * (2 * 0.5 + 4 * 0.2) / 11 / 6)
    assert found.rest == pytest.approx((2 * 0.1 + 4 * 0.2) / 11 / 6)
    assert lent([components([[1, 0, 0]])]) is None


def test_few_seeds_of_few_tables_lend_with_caution() -> None:
    def times(tables: int, seeds: int) -> float:
        found = lent([squares(0.3, 0.2, 0.1, seeds=seeds)] * tables)
        assert found is not None
        return float(found.by_seed) / (0.2 / 11)

    assert [times(count, 2) for count in (1, 3, 6)] == pytest.approx([7, 3, 2])
    assert [times(3, seeds) for seeds in (2, 3, 4)] == pytest.approx([3, 1.25, 1 + 2 / 27])


def test_an_arm_that_varies_more_than_the_others_lends_nothing() -> None:
    """Three arms, two degrees of freedom each: F(2, 4) is above 4.32 one time in ten."""
    assert fdtri(2, 4, 0.9) == pytest.approx(4.325, abs=1e-3)
    quiet = [squares(0.3, 0.2, 0.1), squares(0.3, 0.4, 0.1)]
    within, beyond = (lent([*quiet, squares(0.3, 0.3 * ratio, 0.1)]) for ratio in (4.3, 4.4))
    assert within is not None and within.freedom == 6
    assert within.by_seed == pytest.approx(1.25 * (0.6 + 0.3 * 4.3) / 3 / 11)
    assert beyond is not None and beyond.freedom == 4
    assert beyond.by_seed == pytest.approx(1.25 * 0.3 / 11)
    agreed = squares(0.3, 0.0, 0.0)  # a coarse score's seeds that agree to the last make no other arm an outlier
    both = lent([agreed, squares(0.3, 0.3, 0.1)])
    assert both is not None and both.freedom == 4
    noisy = squares(0.3, 9.0, 0.1)
    assert noisy.mean(lent([*quiet, noisy])).variance == noisy.mean().variance


def test_few_groups_that_carry_the_variance_leave_few_degrees_of_freedom() -> None:
    mean = components([[1, 1] + [0] * 98]).mean()
    share = 0.02
    plain = 1 / (share * (1 - share)) - 6  # excess kurtosis of a two-point distribution
    assert mean.skewed == pytest.approx(2 / (2 / 99 + 99 / (98 * 97) * (101 * plain + 6) / 100))
    assert 4 < mean.skewed < 5
    assert components([[1, 0] * 50]).mean().skewed == pytest.approx(99)
    square = stdtrit(float(mean.skewed), 0.975) ** 2 * float(mean.variance) / (share * (1 - share))
    center, half = (share + square / 2) / (1 + square), np.sqrt(square * share * (1 - share) + square**2 / 4)
    assert score_interval(mean) == pytest.approx((center - half / (1 + square), center + half / (1 + square)))
    assert difference_interval(mean)[1] == pytest.approx(share + stdtrit(99, 0.975) * np.sqrt(mean.variance))


@given(st.lists(st.integers(0, 4), min_size=4, max_size=9).filter(lambda row: len(set(row)) > 1))
def test_excess_is_the_unbiased_kurtosis_of_the_groups_or_none(row: list[int]) -> None:
    excess = float(components([row]).excess)
    assert excess == pytest.approx(max(0.0, kurtosis(row, bias=False)), abs=1e-9)


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
    together = components(tables).mean()
    low, high = score_interval(together)
    alone = components(tables[3, 1]).mean()
    assert (together.variance[3, 1], together.freedom[3, 1]) == pytest.approx((alone.variance, alone.freedom))
    assert (low[3, 1], high[3, 1]) == pytest.approx(score_interval(alone))


def test_a_score_has_wilsons_interval_with_the_effective_sample_size() -> None:
    """3 of 12 alone: m(1 - m) over the variance is 11; t of 11 degrees of freedom is 2.201."""
    low, high = score_interval(components([[1, 1, 1] + [0] * 9]).mean())
    for end in (low, high):
        assert abs(0.25 - end) == pytest.approx(2.20099 * sqrt(end * (1 - end) / 11), abs=1e-6)
    assert 0 < low < 0.25 < high < 1
    assert 0.25 - low < high - 0.25


def test_a_score_in_other_bounds_is_the_same_interval_on_their_scale() -> None:
    unit = np.array([[0.1, 0.5, 0.2, 0.9]])
    low, high = score_interval(components(unit).mean())
    scaled = score_interval(components(3 + 10 * unit).mean(), bounds=(3, 13))
    assert scaled == pytest.approx((3 + 10 * low, 3 + 10 * high))


@given(TABLES)
def test_intervals_hold_the_mean_stay_in_bounds_and_are_mirrored(rows: list[list[int]]) -> None:
    table = (np.array(rows) + 3) / 6
    low, high = map(float, score_interval(components(table).mean()))
    assert -1e-12 <= low <= table.mean() + 1e-12
    assert table.mean() - 1e-12 <= high <= 1 + 1e-12
    assert low < high
    mirrored = score_interval(components(1 - table).mean())
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_a_difference_has_students_interval_and_test() -> None:
    """Differences 1, 1, 0, 0, 0: mean 0.4, variance 0.3/5; t of 4 is 2.776."""
    mean = components([[1, 1, 0, 0, 0]]).mean()
    low, high = difference_interval(mean)
    assert (low, high) == (pytest.approx(0.4 - 2.77645 * sqrt(0.06), abs=1e-5), 1)
    # P(|T| > 0.4/√0.06 = 1.63299) of 4 degrees of freedom, 1 - r(1.5 - r²/2) with r = t/√(t² + 4).
    r = 1.632993 / sqrt(1.632993**2 + 4)
    assert two_sided_p(mean) == pytest.approx(1 - r * (1.5 - r**2 / 2), abs=1e-6)


@given(TABLES)
def test_the_test_rejects_where_the_interval_leaves_zero_out(rows: list[list[int]]) -> None:
    mean = components(np.array(rows) / 3).mean()
    low, high = difference_interval(mean)
    p = float(two_sided_p(mean))
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == bool(low > 0 or high < 0)


def test_without_a_difference_between_cells_the_ends_are_exact_binomial_bounds() -> None:
    """20 groups without a success: the chance of that is 2.5% where a share of 16.8% would succeed."""
    for seeds in (1, 3):
        low, high = score_interval(components(np.zeros((seeds, 20))).mean())
        assert low == 0
        assert (1 - high) ** 20 == pytest.approx(0.025)
        low, high = difference_interval(components(np.zeros((seeds, 3))).mean())
        assert high == -low == pytest.approx(1 - 0.025 ** (1 / 3))
        assert two_sided_p(components(np.zeros((seeds, 3))).mean()) == 1


def test_a_lead_in_every_group_alike_has_the_sign_test_over_groups() -> None:
    for groups in (2, 5, 6, 9):
        mean = components(np.ones((1, groups))).mean()
        assert two_sided_p(mean) == pytest.approx(2 * 0.5**groups)
        assert two_sided_p(components(-np.ones((2, groups))).mean()) == pytest.approx(2 * 0.5**groups)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_group_says_nothing_of_others(seeds: int) -> None:
    mean = components(np.full((seeds, 1), 0.5)).mean()
    assert mean.value == 0.5
    assert all(isnan(each) for each in (*score_interval(mean), *difference_interval(mean), two_sided_p(mean)))


def test_misshaped_tables_are_errors() -> None:
    for bad in ([], [1, 0], np.zeros((0, 2)), np.zeros((2, 0))):
        with pytest.raises(ValueError, match="of 1 or more"):
            components(bad)
        with pytest.raises(ValueError, match="of 1 or more"):
            group_table(bad)
    with pytest.raises(ValueError, match="2 scores, but 1 groups"):
        group_table([[0, 1]], ["a"])
