"""Intervals and the test: against hand-derived values, enumeration and definitions."""

from __future__ import annotations

import itertools
from math import isnan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr, stdtrit
from scipy.stats import norm

from domino_lightning.evaluation.crossed import Components, SeedSquares, Shape, components
from domino_lightning.evaluation.intervals import UNSURE, difference_interval, score_interval, two_sided_p

TABLES = st.tuples(st.integers(1, 4), st.integers(2, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(-3, 3), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)
LOAN = SeedSquares(0.03, 0.01, 4)


def wilson(share: float, trials: float, quantile: float) -> tuple[float, float]:
    """The two θ for which the share lies so many √(θ(1 - θ)/n) away."""
    scarce = quantile**2 / trials
    half = sqrt(scarce * share * (1 - share) + scarce**2 / 4)
    return (share + scarce / 2 - half) / (1 + scarce), (share + scarce / 2 + half) / (1 + scarce)


def test_of_one_seed_and_problems_that_pass_or_fail_a_score_has_wilsons_interval() -> None:
    """3 of 12, from Wilson's formula with z = 1.96: 8.9% to 53.2%."""
    low, high = score_interval(components([[1, 1, 1] + [0] * 9]))
    assert (low, high) == pytest.approx(wilson(0.25, 12, norm.ppf(0.975)))
    assert (low, high) == pytest.approx((0.0889, 0.5323), abs=1e-4)
    few = score_interval(components([[1, 1] + [0] * 98]))
    assert few == pytest.approx(wilson(0.02, 100, norm.ppf(0.975)))


def test_where_the_variance_is_an_estimate_a_score_has_students_t_and_the_effective_sample_size() -> None:
    cells = [1, 1, 0.5, 0.5, 0.5, 0, 0, 0.5, 1, 0, 0.5, 0.5]  # no kurtosis above a normal's
    table = components([cells])
    assert table.shape.excess == 0 and table.value == 0.5
    trials = 0.25 / (np.var(cells, ddof=1) / 12)
    assert score_interval(table) == pytest.approx(wilson(0.5, trials, stdtrit(11, 0.975)))


def test_the_end_towards_the_middle_knows_how_few_groups_carry_the_variance() -> None:
    cells = [0.5, 0.25] + [0.0] * 18
    table = components([cells])
    share, variance = 0.0375, np.var(cells, ddof=1)
    freedom = 2 / (2 / 19 + UNSURE * (share * (1 - share) / variance - 1) * float(table.shape.excess) / 20)
    assert 2 < freedom < 10
    _, high = score_interval(table)
    trials = share * (1 - share) / (variance / 20)
    assert high == pytest.approx(wilson(share, trials, stdtrit(freedom, 0.975))[1])
    low, _ = score_interval(components([1 - np.array(cells)]))
    assert low == pytest.approx(1 - high)


def test_few_groups_widen_no_interval_beyond_what_groups_that_are_all_or_nothing_would() -> None:
    """One of 100 groups scores 0.1: t of a fraction of a degree of freedom would reach 1."""
    table = components([[0.1] + [0.0] * 99])
    assert score_interval(table)[1] == pytest.approx(wilson(0.001, 100, norm.ppf(0.975))[1])
    high = 0.001 + norm.ppf(0.975) * sqrt((0.001 - 1e-6) / 100)
    assert difference_interval(table)[1] == pytest.approx(high)


def test_the_end_towards_the_bound_spends_both_tails_where_no_score_is_too_low() -> None:
    """Were the score 2%, none of 15 groups would often be solved: nothing is left for the lower tail."""
    cells = [0.5, 0.25, 0.25, 0.5] + [0.0] * 11  # above the mean of 0.1 are 4, worth 40 trials
    table = components([cells])
    trials = 0.09 / (np.var(cells, ddof=1) / 15)
    two, one = (wilson(0.1, trials, stdtrit(14, level))[0] for level in (0.975, 0.95))
    star = 1 - 0.025 ** (1 / max(trials, 40))
    assert trials < 40
    low, _ = score_interval(table)
    assert low == pytest.approx(min(max(star, two), one))
    assert low > two
    middle = components([[0.25, 0.75] * 20])  # here none solved is a rare sight
    assert score_interval(middle)[0] == pytest.approx(
        wilson(0.5, 0.25 / (np.var([0.25, 0.75] * 20, ddof=1) / 40), stdtrit(39, 0.975))[0]
    )


def test_a_score_in_other_bounds_is_the_same_interval_on_their_scale() -> None:
    for unit in (np.array([[0.1, 0.5, 0.2, 0.9]]), np.array([[0.1, 0, 0, 0, 0.02, 0], [0, 0.3, 0, 0, 0, 0]])):
        low, high = score_interval(components(unit))
        scaled = score_interval(components(3 + 10 * unit), bounds=(3, 13))
        assert scaled == pytest.approx((3 + 10 * low, 3 + 10 * high))


@given(TABLES)
def test_intervals_hold_the_mean_stay_in_bounds_and_are_mirrored(rows: list[list[int]]) -> None:
    table = (np.array(rows) + 3) / 6
    low, high = map(float, score_interval(components(table)))
    assert -1e-12 <= low <= table.mean() + 1e-12
    assert table.mean() - 1e-12 <= high <= 1 + 1e-12
    assert low < high
    mirrored = score_interval(components(1 - table))
    assert mirrored == pytest.approx((1 - high, 1 - low))


@given(TABLES)
def test_differences_hold_the_mean_stay_in_bounds_and_are_mirrored(rows: list[list[int]]) -> None:
    table = np.array(rows) / 3
    low, high = map(float, difference_interval(components(table), LOAN))
    assert -1 <= low <= table.mean() + 1e-12
    assert table.mean() - 1e-12 <= high <= 1
    assert difference_interval(components(-table), LOAN) == pytest.approx((-high, -low))
    assert two_sided_p(components(-table), LOAN) == pytest.approx(two_sided_p(components(table), LOAN))


def test_seeds_that_solve_different_groups_leave_no_certainty() -> None:
    low, high = score_interval(components([[1, 0], [0, 1]]))
    assert low < 0.5 < high


def test_what_others_lend_widens_both_intervals() -> None:
    scores, gains = components([[0.5, 0, 1, 1, 0.25]]), components([[1, 1, 0, 0, 1, 0.5]])
    for interval, table in ((score_interval, scores), (difference_interval, gains)):
        alone, beside = interval(table), interval(table, LOAN)
        assert beside[0] < alone[0] < alone[1] < beside[1] or (beside[1], alone[1]) == (1, 1)
    assert two_sided_p(gains, LOAN) > two_sided_p(gains)


def shaped(value: float, by_group: float, groups: int, differing: float) -> Components:
    """The components of one seed with that mean, mean square and shape."""
    none = np.array(0.0)
    shape = Shape(np.array(abs(value)), none, np.array(differing), none, none)
    return Components(np.array(value), np.array(by_group), none, none, 1, groups, np.array(False), shape)


@pytest.mark.parametrize("value", [0.1, 0.25, -0.4])
def test_of_normal_differences_the_test_is_students_t(value: float) -> None:
    groups, by_group = 12, 0.3
    table = shaped(value, by_group, groups, differing=(groups + 2) / 3)
    error = sqrt(by_group / groups)
    assert two_sided_p(table) == pytest.approx(2 * stdtr(11, -abs(value) / error))
    low, high = difference_interval(table)
    half = stdtrit(11, 0.975) * error
    assert (low, high) == pytest.approx((max(value - half, -1), min(value + half, 1)))
    wider = shaped(value, by_group, groups, differing=groups)  # never beyond Student's t
    assert two_sided_p(wider) == two_sided_p(table)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 1, 1, 1), (1, 2, 3, 4, 5, 6), (0.2, 0.9, 1, 1, 1, 1)])
def test_signs_have_the_kurtosis_that_the_test_takes_for_theirs(sizes: tuple[float, ...]) -> None:
    """Of all signs' sums over the root of the sum of squares, and of as many normal numbers, 3N/(N + 2)."""
    ratios = np.array(list(itertools.product((-1, 1), repeat=len(sizes)))) @ sizes / np.linalg.norm(sizes)
    worth = float(components([[*sizes, 0.0]]).shape.differing)
    count = 3 * worth - 2
    assert np.mean(ratios**2) == pytest.approx(1)
    assert np.mean(ratios**4) == pytest.approx(3 * count / (count + 2))


def test_the_test_rejects_at_the_ratio_of_as_many_normal_numbers() -> None:
    """Five of 40 groups differ alike, so N = 13: a ratio² beyond 13 t²/(12 + t²) = 3.685, t of 12 being 2.179."""
    for lead, rejected in ((3.68, False), (3.69, True)):
        mean, squares = sqrt(lead * 5) / 40, 5 / 40  # of the sum over the root of the sum of squares
        table = shaped(mean, (squares - mean**2) * 40 / 39, 40, differing=5)
        assert (float(two_sided_p(table)) < 0.05) == rejected


SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 6, 10, 30]), min_size=1, max_size=3)


@given(SIZES, st.integers(1, 60), st.booleans())
def test_three_groups_that_differ_of_more_are_never_enough(sizes: list[int], others: int, seeds: bool) -> None:
    row = [size / 30 for size in sizes] + [0.0] * others
    if len(set(row)) > 1:
        assert two_sided_p(components([row, row] if seeds else [row])) > 0.05


def test_over_all_signs_the_test_rejects_about_one_time_in_twenty() -> None:
    dice = np.random.default_rng(0)
    rates = []
    for differ in (5, 6, 8, 10):
        signs = np.array(list(itertools.product((-1, 1), repeat=differ)))
        for _ in range(10):
            sizes = dice.integers(1, 5, differ) / 4
            rows = np.concatenate([signs * sizes, np.zeros((len(signs), 20 - differ))], axis=1)
            rates.append(np.mean(two_sided_p(components(rows[:, None])) < 0.05))
    assert 0.035 < np.mean(rates) < 0.065
    assert max(rates) < 0.13  # two of 32 signs are 6%, four 12.5%


@given(TABLES)
def test_the_test_rejects_where_the_interval_leaves_zero_out(rows: list[list[int]]) -> None:
    table = components(np.array(rows) / 3)
    for loan in (None, LOAN):
        low, high = difference_interval(table, loan)
        p = float(two_sided_p(table, loan))
        assert 0 <= p <= 1
        if abs(p - 0.05) > 1e-6:
            assert (p < 0.05) == bool(low > 0 or high < 0)


def test_the_end_away_from_zero_is_students_with_what_few_groups_leave() -> None:
    cells = [0.5, 0.5, 0.25, -0.25] + [0.0] * 16
    table = components([cells])
    mean, variance = 0.05, np.var(cells, ddof=1)
    whole = 1.5 / 20 - mean**2  # of differences of 0 and ±1 with this mean and size
    freedom = 2 / (2 / 19 + UNSURE * (whole / variance - 1) * float(table.shape.excess) / 20)
    low, high = difference_interval(table)
    assert high == pytest.approx(mean + stdtrit(min(freedom, 19), 0.975) * sqrt(variance / 20))
    assert mean - low < high - mean


def test_without_a_difference_between_cells_the_ends_are_exact_binomial_bounds() -> None:
    """20 groups without a success: the chance of that is 2.5% where a share of 16.8% would succeed."""
    for seeds in (1, 3):
        low, high = score_interval(components(np.zeros((seeds, 20))))
        assert low == 0
        assert (1 - high) ** 20 == pytest.approx(0.025)
        low, high = difference_interval(components(np.zeros((seeds, 3))))
        assert high == -low == pytest.approx(1 - 0.025 ** (1 / 3))
        assert two_sided_p(components(np.zeros((seeds, 3)))) == 1


def test_a_lead_in_every_group_alike_has_the_sign_test_over_groups() -> None:
    for groups in (2, 5, 6, 9):
        assert two_sided_p(components(np.ones((1, groups)))) == pytest.approx(2 * 0.5**groups)
        assert two_sided_p(components(-np.ones((2, groups)))) == pytest.approx(2 * 0.5**groups)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_group_says_nothing_of_others(seeds: int) -> None:
    table = components(np.full((seeds, 1), 0.5))
    assert table.value == 0.5
    assert all(isnan(each) for each in (*score_interval(table), *difference_interval(table), two_sided_p(table)))


def test_tables_side_by_side_are_independent() -> None:
    tables = np.random.default_rng(0).random((4, 2, 3, 5))
    together, alone = components(tables), components(tables[3, 1])
    found: tuple[tuple[Any, Any], ...] = (
        (score_interval(together), score_interval(alone)),
        (difference_interval(together, LOAN), difference_interval(alone, LOAN)),
        ((two_sided_p(together),), (two_sided_p(alone),)),
    )
    for many, one in found:
        assert [float(each[3, 1]) for each in many] == pytest.approx([float(each) for each in one])
