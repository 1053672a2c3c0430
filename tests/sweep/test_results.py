"""open_sweep: trials × metrics as one tidy frame, arms, histories, also while the sweep is not finished."""

from __future__ import annotations

from pathlib import Path

import pytest

import domino_lightning
from domino_lightning import open_sweep
from domino_lightning.errors import UserError
from domino_lightning.sweep.results import SweepRuns
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import losses_sweep


@pytest.fixture
def opened(tmp_path: Path) -> SweepRuns:
    return open_sweep(losses_sweep(FakeStore(tmp_path / "store")).write())


def test_arms_axes_and_baseline_are_the_sweep_files(opened: SweepRuns) -> None:
    assert opened.name == "losses"
    assert opened.baseline == "loss=likelihood"
    assert opened.axes == ["loss", "weight"]
    assert opened.arms[:3] == ["loss=likelihood", "loss=released", "loss=infonce,weight=0.1"]


def test_the_frame_has_a_row_a_trial_and_a_column_a_metric(opened: SweepRuns) -> None:
    frame = opened.frame()
    assert len(frame) == len(opened.record["trials"]) == 15
    assert list(frame.columns[:6]) == ["trial", "arm", "seed", "status", "loss", "weight"]
    best = frame[frame["arm"] == "loss=infonce,weight=0.3"]
    assert list(best["evaluate/test/pass@1"]) == [0.75] * 3
    assert list(best["weight"]) == [0.3] * 3
    assert frame[frame["loss"] == "likelihood"]["weight"].isna().all()
    assert frame.groupby("loss")["evaluate/test/pass@1"].mean()["likelihood"] == 0.25


def test_trials_without_results_are_rows_with_their_status(opened: SweepRuns) -> None:
    frame = opened.frame().set_index("trial")
    assert frame.loc["loss=infonce,weight=1.0,seed=1", "status"] == "pending"
    assert frame.loc["loss=infonce,weight=1.0,seed=2", "status"] == "failed"
    assert frame.loc["loss=infonce,weight=1.0,seed=2"][["evaluate/test/pass@1"]].isna().all()


def test_history_tells_arms_and_seeds_apart(opened: SweepRuns) -> None:
    history = opened.history()
    assert list(history.columns) == ["arm", "seed", "step", "key", "value"]
    curve = history[(history["arm"] == "loss=released") & (history["key"] == "tune/heldout/nll")]
    assert sorted(set(curve["seed"])) == [0, 1, 2]
    assert len(curve) == 3 * 4


def test_runs_of_one_arm_are_those_that_have_begun(opened: SweepRuns) -> None:
    assert [run.trial["seed"] for run in opened.runs("loss=infonce,weight=1.0")] == [0, 2]
    assert opened.runs("loss=released")[0].metrics["answer/pairs/rows"] == 12
    with pytest.raises(UserError, match="no arm 'loss=none' here; there are: loss=likelihood; "):
        opened.runs("loss=none")


def test_a_path_without_a_sweep_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trials.json here"):
        open_sweep(tmp_path)


def test_the_package_offers_open_sweep() -> None:
    assert domino_lightning.open_sweep is open_sweep
    assert domino_lightning.SweepRuns is SweepRuns
