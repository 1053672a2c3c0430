"""What `metrics.csv` says of a fit."""

from __future__ import annotations

from pathlib import Path

from domino_lightning.tracking.metrics_file import METRICS, SPEED, Metric, MetricsFile, best_heldout, last_values

KEY = "tune/heldout/nll"


def test_the_best_heldout_step_is_the_earliest_lowest_finite_one() -> None:
    rows = [(1, 2.0), (2, float("nan")), (3, 1.5), (4, 1.5), (5, float("inf"))]
    assert best_heldout([Metric(step, KEY, value) for step, value in rows]) == (3, 1.5)
    assert best_heldout([]) is None


def test_what_is_there_before_the_first_step_is_never_the_best() -> None:
    assert best_heldout([Metric(0, KEY, 1.0), Metric(5, KEY, 1.5)]) == (5, 1.5)
    assert best_heldout([Metric(0, KEY, 1.0)]) is None


def test_last_values_are_those_of_both_files_with_the_best_of_a_heldout_nll(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / METRICS)
    for step, nll in ((0, 3.0), (2, 1.25), (4, 1.5)):
        file.append(step, {KEY: nll, "tune/train/loss": 2 * nll})
    MetricsFile(tmp_path / SPEED).append(4, {"tune/speed/tokens_per_s": 7.0})
    assert last_values(tmp_path) == {
        KEY: 1.5,
        f"{KEY}_best": 1.25,
        "tune/train/loss": 3.0,
        "tune/speed/tokens_per_s": 7.0,
    }


def test_a_fit_that_only_looked_before_its_first_step_has_no_best_value(tmp_path: Path) -> None:
    MetricsFile(tmp_path / METRICS).append(0, {KEY: 3.0})
    assert last_values(tmp_path) == {KEY: 3.0}
