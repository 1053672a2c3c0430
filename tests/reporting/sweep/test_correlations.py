"""Rank correlations over arms: against values by hand and brute force, and what is said in their place."""

from __future__ import annotations

import json
from itertools import product
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from domino_lightning.reporting import write_sweep_report
from domino_lightning.reporting.sweep.arms import read_sweep
from domino_lightning.reporting.sweep.correlations import _rank_correlations, correlation, correlations
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import FakeSweep


def sweep_of(store: FakeStore, values: list[float], solved: list[int], seeds: int = 1) -> FakeSweep:
    """An arm for each value of a measure, which solves so many problems."""
    sizes = {str(number): number for number in range(len(values))}
    sweep = FakeSweep(store, {"size": sizes}, "size=0")
    for (number, value), seed in product(enumerate(values), range(seeds)):
        entry = sweep.trial({"size": str(number)}, seed, range(solved[number] + seed))
        content = {"measures": {"vendi": {"value": value + seed, "floor_value": 1.0}}}
        path = store.root / "stages" / "answer" / entry["stages"]["answer"] / "corpus.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    return sweep


def test_rho_of_six_arms_by_hand() -> None:
    # One swap of neighbors among six: Σd² = 2, ρ = 1 − 6·2 / (6·35).
    found = correlation([1, 2, 3, 4, 5, 6], [0.1, 0.3, 0.2, 0.4, 0.5, 0.6])
    assert found.estimate.value == pytest.approx(1 - 12 / 210)
    assert found.arms == 6 and found.said == ""
    assert found.estimate.low < found.estimate.value <= found.estimate.high <= 1


def test_the_interval_is_the_percentiles_of_resamples_of_arms() -> None:
    left, right = np.array([3.0, 1, 4, 1, 5, 9, 2]), np.array([2.0, 7, 1, 8, 2, 8, 1])
    dice = np.random.default_rng(1)
    rows = dice.integers(0, 7, (4000, 7))
    found = [spearmanr(left[row], right[row]).statistic for row in rows if np.ptp(left[row]) and np.ptp(right[row])]
    low, high = np.quantile(found, [0.025, 0.975])
    estimate = correlation(left.tolist(), right.tolist()).estimate
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.06)


def test_ranks_of_resamples_are_those_of_scipy() -> None:
    dice = np.random.default_rng(2)
    left, right = dice.integers(0, 4, (30, 6)).astype(float), dice.normal(size=(30, 6))
    expected = [spearmanr(*row).statistic for row in zip(left, right, strict=True)]
    assert _rank_correlations(left, right) == pytest.approx(expected, nan_ok=True)
    assert isnan(_rank_correlations(np.ones((1, 6)), right[:1])[0])


@pytest.mark.parametrize(
    ("measured", "scores", "said", "arms"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "too few arms", 5),
        ([1, 2, 3, 4, 5, nan], [1, 2, 3, 4, 5, 6], "too few arms", 5),
        ([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6], "all equal", 6),
        ([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0], "all equal", 6),
    ],
)
def test_words_stand_where_there_is_no_correlation(
    measured: list[float], scores: list[float], said: str, arms: int
) -> None:
    found = correlation(measured, scores)
    assert (found.said, found.arms) == (said, arms)
    assert isnan(found.estimate.value)


def test_a_measure_that_one_arm_alone_differs_in_has_no_interval() -> None:
    found = correlation([0, 0, 0, 0, 0, 1], [1, 2, 3, 4, 5, 6])  # a third of the resamples lack that arm
    assert found.estimate.value > 0 and isnan(found.estimate.low) and isnan(found.estimate.high)


def test_a_point_is_an_arm_whatever_its_seeds(store: FakeStore) -> None:
    values, solved = [1.0, 2, 3, 4, 5, 6], [3, 5, 9, 12, 15, 20]
    sweep = sweep_of(store, values, solved, seeds=2)
    rows = {row.name: row.cells for row in correlations(read_sweep(open_sweep(sweep.write())).arms, [1])}
    assert set(rows) == {"Pairs", "Vendi score"}
    assert rows["Vendi score"][0].estimate.value == pytest.approx(1.0)
    assert (rows["Vendi score"][0].arms, rows["Pairs"][0].said) == (6, "all equal")


@pytest.mark.parametrize("arms", [5, 6])
def test_the_page_gives_numbers_or_the_words(store: FakeStore, tmp_path: Path, arms: int) -> None:
    sweep = sweep_of(store, [1.0, 3, 2, 4, 5, 6][:arms], [3, 5, 9, 12, 15, 20][:arms])
    page = write_sweep_report(open_sweep(sweep.write()), tmp_path)[0].read_text(encoding="utf-8")
    assert ("too few arms" in page) == (arms == 5)
    assert ("+0.94" in page) == (arms == 6)
