"""Intervals over problems and seeds, and paired differences: against hand-derived values and brute force."""

from __future__ import annotations

from itertools import pairwise
from math import isnan, sqrt
from pathlib import Path

import pytest

from domino_lightning.evaluation.comparison import compare
from domino_lightning.evaluation.statistics import Estimate, bootstrap_mean, holm
from domino_lightning.reporting.sweep.arms import SweepData, read_sweep
from domino_lightning.reporting.sweep.estimates import (
    arm_scores,
    differences,
    mean_over_seeds,
    quantile_t,
    spread,
    two_sided_t,
    widened,
)
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import PROBLEMS, FakeSweep

ARMS = {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def sweep(store: FakeStore) -> FakeSweep:
    return FakeSweep(store, {"arm": ARMS}, "arm=a")


def read(sweep: FakeSweep) -> SweepData:
    return read_sweep(open_sweep(sweep.write()))


def test_spread_pools_the_variance_within_arms() -> None:
    found = spread([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0], []])
    # Squares about each arm's own mean: 1 + 1, and 1 + 1 + 4; the single value and the empty arm add none.
    assert found.freedom == 1 + 2
    assert found.variance == pytest.approx(8 / 3)


def test_students_t_has_its_textbook_values() -> None:
    assert quantile_t(1) == pytest.approx(12.706, abs=1e-3)
    assert quantile_t(4) == pytest.approx(2.776, abs=1e-3)
    assert two_sided_t(2.228, 10) == pytest.approx(0.05, abs=1e-4)
    assert two_sided_t(-2.228, 10) == two_sided_t(2.228, 10)


def test_a_mean_over_seeds_has_the_t_interval() -> None:
    estimate = mean_over_seeds([1.0, 2.0, 3.0], spread([[1.0, 2.0, 3.0]]))
    assert estimate is not None
    assert estimate.value == 2
    assert estimate.high - estimate.value == pytest.approx(4.303 / sqrt(3), abs=1e-3)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    estimate = mean_over_seeds([1.5], spread([[1.5], [2.5]]))
    assert estimate is not None and estimate.value == 1.5 and isnan(estimate.low) and isnan(estimate.high)
    assert mean_over_seeds([], spread([])) is None


def test_widening_adds_half_widths_in_squares_and_stays_in_bounds() -> None:
    assert widened(Estimate(0.5, 0.2, 0.9), 0.4, 0, 1) == pytest.approx((0.5, 0.0, 1.0))
    assert widened(Estimate(0.5, 0.47, 0.54), 0.0, 0, 1) == pytest.approx((0.5, 0.47, 0.54))
    assert widened(Estimate(0.5, 0.47, 0.54), 0.04, 0, 1)[1:] == pytest.approx((0.45, 0.5 + 0.04 * sqrt(2)))


def test_one_seed_has_the_bootstrap_over_problems_alone(sweep: FakeSweep) -> None:
    sweep.trial({"arm": "a"}, 0, range(10))
    (score,) = [score for score in arm_scores(read(sweep).arms) if score]
    solved = [float(i < 10) for i in range(PROBLEMS)]
    groups = [f"g{i // 2}" for i in range(PROBLEMS)]
    assert score.estimate == bootstrap_mean(solved, groups)
    assert (score.seeds, score.problems, score.groups) == (1, PROBLEMS, PROBLEMS // 2)


def test_seeds_that_differ_widen_the_interval(sweep: FakeSweep) -> None:
    for arm, counts in {"a": (10, 10), "b": (4, 16)}.items():
        for seed, count in enumerate(counts):
            sweep.trial({"arm": arm}, seed, range(count))
    first, second = (score for score in arm_scores(read(sweep).arms) if score)
    assert first.by_seed == [0.25, 0.25] and second.by_seed == [0.1, 0.4]
    # Squares within b: 2 · 0.15², over two degrees of freedom.
    half = 4.3027 * sqrt(0.15**2 / 2)
    problems = bootstrap_mean([float(i < 10) for i in range(PROBLEMS)], [f"g{i // 2}" for i in range(PROBLEMS)])
    assert first.estimate.high - 0.25 == pytest.approx(sqrt((problems.high - 0.25) ** 2 + half**2), abs=1e-4)


def test_one_seed_is_compared_by_the_exact_test_over_problems(sweep: FakeSweep) -> None:
    for arm, count in (("a", 10), ("b", 20), ("c", 11)):
        sweep.trial({"arm": arm}, 0, range(count))
    data = read(sweep)
    none, second, third = differences(data.arms, data.baseline)
    assert none is None and second is not None and third is not None
    expected = compare(data.arms[0].scored[0].outcomes, data.arms[1].scored[0].outcomes)
    assert (second.test, second.p, second.estimate) == ("McNemar", expected.p_value, expected.difference)
    assert second.p == pytest.approx(2 * 0.5**10)
    assert [second.adjusted, third.adjusted] == pytest.approx(holm([second.p, third.p]))
    assert second.significant and not third.significant
    assert (second.only_arm, second.only_baseline) == (10, 0)


def test_a_lead_that_seeds_do_not_repeat_is_not_significant(sweep: FakeSweep) -> None:
    """One lucky seed: over problems alone the difference would be overwhelming."""
    for seed, count in enumerate((38, 6)):
        sweep.trial({"arm": "a"}, seed, range(10))
        sweep.trial({"arm": "b"}, seed, range(count))
    data = read(sweep)
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.test == "t" and found.seeds == 2
    assert found.estimate.value == pytest.approx(0.3)
    assert not found.significant
    assert found.estimate.low < 0 < found.estimate.high
    problems_alone = compare(*(arm.scored[0].outcomes for arm in data.arms))
    assert problems_alone.p_value < 1e-6


def test_a_lead_that_every_seed_repeats_is_significant(sweep: FakeSweep) -> None:
    for seed in range(3):
        sweep.trial({"arm": "a"}, seed, range(8 + seed))
        sweep.trial({"arm": "b"}, seed, range(24 + seed))
    data = read(sweep)
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.significant and found.estimate.low > 0


def test_seeds_are_paired_so_what_moves_both_arms_is_no_spread(sweep: FakeSweep) -> None:
    for seed, shift in enumerate((0, 6, 12)):
        sweep.trial({"arm": "a"}, seed, range(6 + shift))
        sweep.trial({"arm": "b"}, seed, range(14 + shift))
    data = read(sweep)
    found = differences(data.arms, data.baseline)[1]
    assert found is not None
    single = [float(i in range(6 + s, 14 + s)) for s in (0, 6, 12) for i in range(PROBLEMS)]
    means = [sum(single[i::PROBLEMS]) / 3 for i in range(PROBLEMS)]
    paired = bootstrap_mean(means, [f"g{i // 2}" for i in range(PROBLEMS)], bounds=(-1.0, 1.0))
    assert found.estimate == pytest.approx(paired)  # the seeds' differences are all 0.2


def test_seeds_that_reach_no_stage_are_one_run(sweep: FakeSweep) -> None:
    for seed in range(3):
        sweep.trial({"arm": "a"}, seed, range(10), shared=True)
        sweep.trial({"arm": "b"}, seed, range(9 + seed))
    data = read(sweep)
    assert data.arms[0].seedless and not data.arms[1].seedless
    first, second = (score for score in arm_scores(data.arms) if score)
    assert (first.seeds, second.seeds) == (1, 3)
    assert first.estimate.low > second.estimate.low  # no spread of seeds is put on an arm that has none
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.seeds == 3


def test_arms_that_cannot_be_compared_say_why(sweep: FakeSweep) -> None:
    sweep.trial({"arm": "a"}, 0, range(10))
    sweep.trial({"arm": "b"}, 1, range(10))
    sweep.trial({"arm": "c"}, 0, None)
    data = read(sweep)
    _, second, third = differences(data.arms, data.baseline)
    assert second is not None and second.problem == "no seed in common with the baseline"
    assert third is not None and third.problem == "not evaluated"
    assert isnan(second.p)


def test_arms_scored_on_other_problems_are_not_compared(sweep: FakeSweep, store: FakeStore) -> None:
    sweep.trial({"arm": "a"}, 0, range(10))
    entry = sweep.trial({"arm": "b"}, 0, range(10))
    verdicts = store.root / "stages" / "evaluate" / entry["stages"]["evaluate"] / "verdicts.jsonl"
    verdicts.write_text("".join(verdicts.read_text().splitlines(keepends=True)[:-1]))
    data = read(sweep)
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.problem == "scored on other problems than the baseline"


def test_pass_at_k_needs_k_samples(sweep: FakeSweep) -> None:
    sweep.trial({"arm": "a"}, 0, range(10))
    assert arm_scores(read(sweep).arms, k=2) == [None]


def test_more_seeds_never_shrink_by_repeating_themselves(sweep: FakeSweep, tmp_path: Path) -> None:
    """Copies of one outcome under new seeds keep the interval over problems."""
    widths = []
    for seeds in (2, 4):
        own = FakeSweep(FakeStore(tmp_path / str(seeds)), {"arm": ARMS}, "arm=a")
        for seed in range(seeds):
            own.trial({"arm": "a"}, seed, range(10))
        (score,) = [score for score in arm_scores(read(own).arms) if score]
        widths.append(score.estimate.high - score.estimate.low)
    assert all(first == pytest.approx(second) for first, second in pairwise(widths))
