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
from domino_lightning.evaluation import statistics
from domino_lightning.evaluation.statistics import (
    bootstrap_mean,
    bootstrap_means,
    exact_mcnemar,
    holm,
    paired_bootstrap,
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


def exact_quantiles(sums: list[float], sizes: list[int], levels: list[float]) -> list[float]:
    """Quantiles of the mean over all G^G equally likely draws of G groups."""
    draws = itertools.product(range(len(sums)), repeat=len(sums))
    means = [sum(sums[i] for i in draw) / sum(sizes[i] for i in draw) for draw in draws]
    return [float(value) for value in np.quantile(means, levels)]


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 0, 1, 2, 2], [0, 0, 0, 0, 1]])
def test_interval_equals_enumeration_of_every_draw(groups: list[int]) -> None:
    values = [0.0, 0.7, 1.0, 0.2, 0.4]
    members = [[v for v, g in zip(values, groups, strict=True) if g == name] for name in sorted(set(groups))]
    # Levels at which the exact distribution does not jump, so that sampling error moves the quantile little.
    found = bootstrap_mean(values, groups, confidence=0.8, resamples=60_000)
    low, high = exact_quantiles([sum(each) for each in members], [len(each) for each in members], [0.1, 0.9])
    assert found.value == pytest.approx(sum(values) / 5)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        rates = generator.random(40).repeat(3)  # three problems a group, truth 1/2
        values = generator.random(120) < rates
        found = bootstrap_mean(values, [i // 3 for i in range(120)], confidence=0.9, resamples=400)
        covered += found.low <= 0.5 <= found.high
    assert 0.83 <= covered / 200 <= 0.97  # 0.9, three standard errors either way


def test_correlated_values_widen_the_interval() -> None:
    values = [i % 2 for i in range(20) for _ in range(5)]
    clustered, independent = bootstrap_mean(values, [i // 5 for i in range(100)]), bootstrap_mean(values)
    ratio = (clustered.high - clustered.low) / (independent.high - independent.low)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)  # means lie on a grid of twentieths


@given(st.permutations(range(8)), st.booleans())
def test_the_order_of_rows_changes_nothing(order: list[int], grouped: bool) -> None:
    values = np.array([[0.1, 1], [0.2, 0], [0.7, 0], [0.3, 1], [0.0, 0], [1.0, 1], [0.9, 0], [0.1, 1]])
    groups = list("abacbdae")
    shuffled = bootstrap_means(values[order], [groups[i] for i in order] if grouped else None, resamples=50)
    assert shuffled == bootstrap_means(values, groups if grouped else None, resamples=50)


def test_draws_in_several_chunks_give_one_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [i % 3 / 2 for i in range(50)]
    whole = bootstrap_mean(values, resamples=1000)
    monkeypatch.setattr(statistics, "_CHUNK", 7 * 50)
    assert bootstrap_mean(values, resamples=1000) == whole


def test_no_global_random_state_is_touched_and_the_seed_decides() -> None:
    values = [0.1, 0.5, 0.9, 0.3, 0.2]
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    first = bootstrap_mean(values, resamples=200)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]
    assert bootstrap_mean(values, resamples=200) == first
    assert bootstrap_mean(values, resamples=200, seed=1) != first


def test_without_a_difference_between_groups_the_ends_are_exact_binomial_bounds() -> None:
    """20 groups without a success: the chance of that is 2.5% where a share of 16.8% would succeed."""
    none = bootstrap_mean([0] * 20)
    assert (none.value, none.low) == (0, 0)
    assert (1 - none.high) ** 20 == pytest.approx(0.025)
    every = bootstrap_mean([1] * 20)
    assert (every.value, every.low, every.high) == (1, pytest.approx(1 - none.high), 1)
    half = bootstrap_mean([0.5] * 20)
    assert (half.low, half.high) == (pytest.approx(0.5 - none.high / 2), pytest.approx(0.5 + none.high / 2))
    third = bootstrap_mean([1, 0, 0] * 4, [i // 3 for i in range(12)])
    assert third.low < 1 / 3 < third.high
    same = paired_bootstrap([0, 1, 1], [0, 1, 1])
    assert same.value == 0
    assert same.high == -same.low == pytest.approx(1 - 0.025 ** (1 / 3))


def test_one_group_has_no_interval() -> None:
    found = bootstrap_mean([0, 1], ["a", "a"])
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_misshaped_values_are_errors() -> None:
    for bad in ([], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="P of 1 or more"):
            bootstrap_mean(bad)
    with pytest.raises(ValueError, match="2 values, but 1 groups"):
        bootstrap_mean([0, 1], ["a"])
    with pytest.raises(ValueError, match="of the second"):
        paired_bootstrap([0, 1], [1])


def test_pairing_removes_what_is_hard_for_both() -> None:
    generator = np.random.default_rng(0)
    hardness = generator.random(60)
    paired = paired_bootstrap(hardness * 0.9, hardness * 0.9 + 0.05)
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.05,) * 3, abs=1e-9) or (
        paired.low < 0.05 < paired.high
    )
    noisy = paired_bootstrap(hardness, np.clip(hardness + generator.normal(0.05, 0.02, 60), 0, 1))
    apart = [bootstrap_mean(hardness), bootstrap_mean(np.clip(hardness + 0.05, 0, 1))]
    assert noisy.low > 0
    assert noisy.high - noisy.low < 0.2 * min(each.high - each.low for each in apart)


def test_a_paired_difference_turns_its_sign_with_the_order() -> None:
    first, second = [0, 1, 0.5, 0, 1, 1], [1, 1, 0, 1, 1, 0.5]
    there, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert there.value == pytest.approx(-back.value)
    assert there.low < there.value < there.high


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
