from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.errors import UserError
from domino_lightning.evaluation.statistics import (
    cluster_mean,
    exact_mcnemar,
    holm,
    independent_mean,
    paired_difference,
    pass_at_k,
)


@pytest.mark.parametrize("total", range(1, 8))
def test_pass_at_k_equals_enumeration_of_every_subset(total: int) -> None:
    for correct in range(total + 1):
        samples = [True] * correct + [False] * (total - correct)
        for k in range(1, total + 1):
            subsets = list(itertools.combinations(samples, k))
            assert pass_at_k(total, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_stable_for_many_samples() -> None:
    exact = 1 - math.comb(9997, 100) / math.comb(10_000, 100)
    assert pass_at_k(10_000, 3, 100) == pytest.approx(exact, rel=1e-10)
    assert pass_at_k(200, 200, 1) == 1.0
    assert pass_at_k(200, 0, 200) == 0.0


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_grows_with_k_between_the_share_and_one(counts: tuple[int, int]) -> None:
    total, correct = counts
    values = [pass_at_k(total, correct, k) for k in range(1, total + 1)]
    assert values[0] == pytest.approx(correct / total)
    assert values[-1] == float(correct > 0)
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(values))


def test_pass_at_k_of_too_few_samples_is_an_error_that_names_both() -> None:
    with pytest.raises(UserError, match=r"pass@3.* 2 samples"):
        pass_at_k(2, 1, 3)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        rates = generator.random(40).repeat(3)  # three problems a group, truth 1/2
        values = generator.random(120) < rates
        found = cluster_mean(values, [i // 3 for i in range(120)], confidence=0.9)
        covered += found.low <= 0.5 <= found.high
    assert 0.83 <= covered / 200 <= 0.97  # 0.9, three standard errors either way


def test_correlated_values_widen_the_interval() -> None:
    values = [i % 2 for i in range(20) for _ in range(5)]
    clustered, independent = cluster_mean(values, [i // 5 for i in range(100)]), cluster_mean(values)
    ratio = (clustered.high - clustered.low) / (independent.high - independent.low)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)  # Wilson's is a little narrower than in proportion


@given(st.permutations(range(8)), st.booleans())
def test_the_order_of_rows_changes_nothing(order: list[int], grouped: bool) -> None:
    values = np.array([0.1, 0.2, 0.7, 0.3, 0.0, 1.0, 0.9, 0.1])
    groups = list("abacbdae")
    shuffled = cluster_mean(values[order], [groups[i] for i in order] if grouped else None)
    assert shuffled == cluster_mean(values, groups if grouped else None)


def test_no_global_random_state_is_touched() -> None:
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    assert cluster_mean([0.1, 0.5, 0.9, 0.3, 0.2]) == cluster_mean([0.2, 0.3, 0.9, 0.5, 0.1])
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]


def test_without_a_difference_between_groups_the_ends_are_exact_binomial_bounds() -> None:
    """20 groups without a success: the chance of that is 2.5% where a share of 16.8% would succeed."""
    none = cluster_mean([0] * 20)
    assert (none.value, none.low) == (0, 0)
    assert (1 - none.high) ** 20 == pytest.approx(0.025)
    every = cluster_mean([1] * 20)
    assert (every.value, every.low, every.high) == (1, pytest.approx(1 - none.high), 1)
    half = cluster_mean([0.5] * 20)
    assert (half.low, half.high) == (pytest.approx(0.5 - none.high / 2), pytest.approx(0.5 + none.high / 2))
    third = cluster_mean([1, 0, 0] * 4, [i // 3 for i in range(12)])
    assert third.low < 1 / 3 < third.high
    same, p = paired_difference([0, 1, 1], [0, 1, 1])
    assert (same.value, p) == (0, 1)
    assert same.high == -same.low == pytest.approx(1 - 0.025 ** (1 / 3))


def test_one_group_has_no_interval() -> None:
    found = cluster_mean([0, 1], ["a", "a"])
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_bounds_without_a_span_are_no_division_by_zero() -> None:
    assert cluster_mean([0.0, 0.0], bounds=(0.0, 0.0)) == (0, 0, pytest.approx(1 - 0.025**0.5))


def test_misshaped_values_are_errors() -> None:
    for bad in ([], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="P of 1 or more"):
            cluster_mean(bad)
    with pytest.raises(ValueError, match="2 scores, but 1 groups"):
        cluster_mean([0, 1], ["a"])
    with pytest.raises(ValueError, match="of the second"):
        paired_difference([0, 1], [1])


def test_independent_values_have_the_t_interval() -> None:
    """1, 2, 3: standard deviation 1, t of 2 degrees of freedom 4.303."""
    found = independent_mean([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == 2 - found.low == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    alone = independent_mean([1.5])
    assert alone.value == 1.5
    assert math.isnan(alone.low) and math.isnan(alone.high)
    with pytest.raises(ValueError, match="no values"):
        independent_mean([])


def test_pairing_removes_what_is_hard_for_both() -> None:
    generator = np.random.default_rng(0)
    hardness = generator.random(60)
    noisy, p = paired_difference(hardness, np.clip(hardness + generator.normal(0.05, 0.02, 60), 0, 1))
    apart = [cluster_mean(hardness), cluster_mean(np.clip(hardness + 0.05, 0, 1))]
    assert noisy.low > 0
    assert p < 0.001
    assert noisy.high - noisy.low < 0.2 * min(each.high - each.low for each in apart)


def test_a_paired_difference_turns_its_sign_with_the_order() -> None:
    first, second = [0, 1, 0.5, 0, 1, 1], [1, 1, 0, 1, 1, 0.5]
    (there, p), (back, same) = paired_difference(first, second), paired_difference(second, first)
    assert there == pytest.approx((-back.value, -back.high, -back.low))
    assert p == pytest.approx(same)
    assert there.low < there.value < there.high


def test_correlated_differences_are_tested_by_groups() -> None:
    """Six problems that go together are one group's worth of evidence."""
    first, second = [0] * 24, [1] * 6 + [0] * 18
    _, alone = paired_difference(first, second)
    _, together = paired_difference(first, second, [i // 6 for i in range(24)])
    assert alone < 0.05 < together


@pytest.mark.parametrize("total", range(1, 9))
def test_mcnemar_equals_enumeration_of_every_sign(total: int) -> None:
    signs = list(itertools.product((0, 1), repeat=total))
    for only_first in range(total + 1):
        far = abs(only_first - total / 2)
        as_far = sum(abs(sum(each) - total / 2) >= far for each in signs)
        assert exact_mcnemar(only_first, total - only_first) == pytest.approx(as_far / len(signs))


def test_mcnemar_without_discordant_problems_and_with_thousands() -> None:
    assert exact_mcnemar(0, 0) == 1
    assert exact_mcnemar(3000, 3000) == 1
    assert 0 < exact_mcnemar(2900, 3100) < 0.05
    with pytest.raises(ValueError, match="negative"):
        exact_mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.06 (never below the one before)."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_raw_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for raw, found in zip(p_values, adjusted, strict=True):
        assert raw <= found <= min(1, raw * len(p_values)) + 1e-12
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [found for _, found in pairs] == sorted(adjusted)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, domino_lightning.evaluation.comparison; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
