"""Intervals over problems and seeds, and paired differences: against hand-derived values and brute force."""

from __future__ import annotations

from itertools import pairwise
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import pytest
from scipy.special import stdtr, stdtrit
from scipy.stats import chi2

from domino_lightning.evaluation.comparison import compare
from domino_lightning.evaluation.crossed import lent
from domino_lightning.evaluation.intervals import difference_interval
from domino_lightning.evaluation.statistics import cluster_mean, holm
from domino_lightning.reporting.sweep.arms import SweepData, read_sweep
from domino_lightning.reporting.sweep.estimates import arm_scores, difference_components, differences
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import PROBLEMS, FakeSweep

ARMS = {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def sweep(store: FakeStore) -> FakeSweep:
    return FakeSweep(store, {"arm": ARMS}, "arm=a")


def read(sweep: FakeSweep) -> SweepData:
    return read_sweep(open_sweep(sweep.write()))


GROUPS = [f"g{i // 2}" for i in range(PROBLEMS)]


def test_one_seed_has_the_interval_over_groups_of_problems_alone(sweep: FakeSweep) -> None:
    sweep.trial({"arm": "a"}, 0, range(10))
    (score,) = [score for score in arm_scores(read(sweep).arms) if score]
    assert score.estimate == cluster_mean([float(i < 10) for i in range(PROBLEMS)], GROUPS)
    assert (score.seeds, score.problems, score.groups) == (1, PROBLEMS, PROBLEMS // 2)


def test_a_score_goes_by_its_arms_own_variance_between_seeds(sweep: FakeSweep) -> None:
    for arm, counts in {"a": (10, 10), "b": (4, 16)}.items():
        for seed, count in enumerate(counts):
            sweep.trial({"arm": arm}, seed, range(count))
    first, second = (score for score in arm_scores(read(sweep).arms) if score)
    assert first.by_seed == [0.25, 0.25] and second.by_seed == [0.1, 0.4]
    # b, over 20 groups: 2 solved twice, 6 once. Groups: 2 · (2 · 0.75² + 6 · 0.25² + 12 · 0.25²)/19; seeds:
    # 20 · 2 · 0.15², over 0.455, the median of chi-squared; the rest: ±0.35 in 6 groups, ∓0.15 in 14, in both seeds.
    groups, seeds = 2 * (2 * 0.75**2 + 18 * 0.25**2) / 19, 20 * 2 * 0.15**2 / chi2.median(1)
    rest = 2 * (6 * 0.35**2 + 14 * 0.15**2) / 19
    variance = (groups + seeds - rest) / 40
    freedom = (40 * variance) ** 2 / (groups**2 / 19 + seeds**2 / 1 + rest**2 / 19)
    # With one degree of freedom the ends are so far out that none may be solved at the one, or all at the other: both
    # tails are one.
    t = stdtrit(max(freedom, 1), 0.95)
    for end in second.estimate[1:]:
        assert abs(0.25 - end) == pytest.approx(t * sqrt(variance * end * (1 - end) / (0.25 * 0.75)))
    # a: 5 of 20 groups solved by both of its seeds, which agree to the last; b's do not concern it. Were its score the
    # low end's, 20 trials would all fail more often than one time in forty, so both tails are one there.
    variance = 2 * (5 * 0.75**2 + 15 * 0.25**2) / 19 / 40
    for end, level in zip(first.estimate[1:], (0.95, 0.975), strict=True):
        error = sqrt(variance * end * (1 - end) / (0.25 * 0.75))
        assert abs(0.25 - end) == pytest.approx(stdtrit(19, level) * error)
    assert (1 - first.estimate.low) ** 20 > 0.025


def test_a_difference_of_few_seeds_takes_what_differences_have_between_seeds_on_average(sweep: FakeSweep) -> None:
    for arm, counts in {"a": (10, 10), "b": (12, 12), "c": (8, 20)}.items():
        for seed, count in enumerate(counts):
            sweep.trial({"arm": arm}, seed, range(count))
    data = read(sweep)
    found = differences(data.arms, data.baseline)
    tables = [row[1] for row in difference_components(data.arms, data.baseline) if isinstance(row, tuple)]
    assert [float(one.by_seed) for one in tables][0] == 0  # b gains 2 of 40 under both seeds
    agreed = found[1]
    assert agreed is not None
    loan = lent(tables)
    assert loan is not None and agreed.estimate.high == pytest.approx(difference_interval(tables[0], loan)[1])
    assert agreed.estimate.high > difference_interval(tables[0])[1]


def test_an_arm_with_one_seed_borrows_the_variance_between_seeds(sweep: FakeSweep) -> None:
    for seed, count in enumerate((4, 16)):
        sweep.trial({"arm": "a"}, seed, range(count))
    sweep.trial({"arm": "b"}, 0, range(10))
    data = read(sweep)
    _, alone = (score for score in arm_scores(data.arms) if score)
    problems = cluster_mean([float(i < 10) for i in range(PROBLEMS)], GROUPS)
    assert alone.estimate.low < problems.low and problems.high < alone.estimate.high
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and (found.test, found.seeds) == ("problems", 1)  # no difference has two seeds


def test_a_difference_with_one_seed_borrows_from_the_others(sweep: FakeSweep) -> None:
    for seed in range(2):
        sweep.trial({"arm": "a"}, seed, range(10))
        sweep.trial({"arm": "b"}, seed, range(4 + 12 * seed))
    sweep.trial({"arm": "c"}, 0, range(20))
    data = read(sweep)
    _, _, third = differences(data.arms, data.baseline)
    assert third is not None and (third.test, third.seeds) == ("problems and seeds", 1)
    alone = compare(data.arms[0].scored[0].outcomes, data.arms[2].scored[0].outcomes)
    assert third.estimate.low < alone.difference.low
    assert third.p > alone.p_value


def test_one_seed_is_compared_by_groups_of_problems(sweep: FakeSweep) -> None:
    for arm, count in (("a", 10), ("b", 20), ("c", 11)):
        sweep.trial({"arm": arm}, 0, range(count))
    data = read(sweep)
    none, second, third = differences(data.arms, data.baseline)
    assert none is None and second is not None and third is not None
    expected = compare(data.arms[0].scored[0].outcomes, data.arms[1].scored[0].outcomes)
    assert (second.test, second.p, second.estimate) == ("problems", expected.p_value, expected.difference)
    # Five of twenty groups gain 1: mean 1/4, variance 3/16 · 20/19 / 20, so t = √(19/3) of 19 degrees of freedom. Five
    # that differ alike are worth 13 normal ones, whose squared sum is 13 t²/(12 + t²) of the squares at 5%, not that of
    # twenty; the mean over its error grows by the root of both over what they leave of twenty.
    thirteen, twenty = (n * stdtrit(n - 1, 0.975) ** 2 / (n - 1 + stdtrit(n - 1, 0.975) ** 2) for n in (13, 20))
    narrower = thirteen / (20 - thirteen) * (20 - twenty) / twenty
    assert second.p == pytest.approx(2 * stdtr(19, -sqrt(19 / 3 / narrower)))
    assert [second.adjusted, third.adjusted] == pytest.approx(holm([second.p, third.p]))
    assert second.significant and not third.significant


def test_a_lead_that_seeds_do_not_repeat_is_not_significant(sweep: FakeSweep) -> None:
    """One lucky seed: over problems alone the difference would be overwhelming."""
    for seed, count in enumerate((38, 6)):
        sweep.trial({"arm": "a"}, seed, range(10))
        sweep.trial({"arm": "b"}, seed, range(count))
    data = read(sweep)
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.test == "problems and seeds" and found.seeds == 2
    assert found.estimate.value == pytest.approx(0.3)
    assert not found.significant
    assert found.estimate.low < 0 < found.estimate.high
    problems_alone = compare(*(arm.scored[0].outcomes for arm in data.arms))
    assert problems_alone.mcnemar < 1e-6 and problems_alone.p_value < 1e-5


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
    # The seeds' gains are 0.2 each, in groups 3 to 6, 6 to 9 and 9 to 12: eight gain once, two twice, ten never.
    groups = 3 * (8 * (1 / 3 - 0.2) ** 2 + 2 * (2 / 3 - 0.2) ** 2 + 10 * 0.2**2) / 19
    rest = 10 * ((2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 38
    assert found.estimate.value == pytest.approx(0.2)
    assert found.estimate.high - 0.2 == pytest.approx(stdtrit(19, 0.975) * sqrt((groups - 0.5 * rest) / 60))


def test_seeds_that_reach_no_stage_are_one_run(sweep: FakeSweep) -> None:
    for seed in range(3):
        sweep.trial({"arm": "a"}, seed, range(10), shared=True)
        sweep.trial({"arm": "b"}, seed, range(9 + seed))
    data = read(sweep)
    assert data.arms[0].seedless and not data.arms[1].seedless
    first, second = (score for score in arm_scores(data.arms) if score)
    assert (first.seeds, second.seeds) == (1, 3)
    # No variance between seeds is put on an arm that has none, lent or own.
    assert first.estimate == cluster_mean([float(i < 10) for i in range(PROBLEMS)], GROUPS)
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


def drop(store: FakeStore, entry: dict[str, Any], places: range) -> None:
    """Take problems out of a trial's verdicts."""
    verdicts = store.root / "stages" / "evaluate" / entry["stages"]["evaluate"] / "verdicts.jsonl"
    lines = verdicts.read_text().splitlines(keepends=True)
    verdicts.write_text("".join(line for place, line in enumerate(lines) if place not in places))


def test_seeds_scored_on_different_problems_are_scored_on_those_that_all_have(
    sweep: FakeSweep, store: FakeStore
) -> None:
    entries = {(arm, seed): sweep.trial({"arm": arm}, seed, range(10)) for arm in "ab" for seed in (0, 1)}
    for arm in "ab":
        drop(store, entries[arm, 1], range(4))
    data = read(sweep)
    score = arm_scores(data.arms)[0]
    assert score is not None and (score.problems, score.left_out) == (PROBLEMS - 4, 4)
    assert score.by_seed == pytest.approx([6 / 36, 6 / 36])
    found = differences(data.arms, data.baseline)[1]
    assert found is not None and found.problem == "its seeds were scored on different problems"


def test_seeds_that_share_no_problem_have_no_score(sweep: FakeSweep, store: FakeStore) -> None:
    entries = [sweep.trial({"arm": "a"}, seed, range(10)) for seed in (0, 1)]
    drop(store, entries[0], range(20))
    drop(store, entries[1], range(20, PROBLEMS))
    assert arm_scores(read(sweep).arms) == [None]


def test_problems_of_one_group_have_neither_interval_nor_test(sweep: FakeSweep, store: FakeStore) -> None:
    for arm in "ab":
        for seed in (0, 1):
            drop(store, sweep.trial({"arm": arm}, seed, range(1 + seed)), range(2, PROBLEMS))
    sweep.trial({"arm": "c"}, 0, range(10))
    data = read(sweep)
    score = arm_scores(data.arms)[1]
    assert score is not None and score.estimate.value == 0.75 and isnan(score.estimate.low)
    _, second, third = differences(data.arms, data.baseline)
    assert second is not None and not second.problem and not second.significant
    assert second.estimate.value == 0
    assert all(isnan(each) for each in (second.p, second.adjusted, second.estimate.low, second.estimate.high))
    assert third is not None and third.problem == "scored on other problems than the baseline"


def test_none_solved_by_any_seed_is_no_certainty(sweep: FakeSweep) -> None:
    for arm in "ab":
        for seed in range(3):
            sweep.trial({"arm": arm}, seed, [])
    data = read(sweep)
    score, found = arm_scores(data.arms)[0], differences(data.arms, data.baseline)[1]
    assert score is not None and score.estimate == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))
    assert found is not None and found.p == 1 and found.estimate.low == -found.estimate.high < -0.15


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
