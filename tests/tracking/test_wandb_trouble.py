"""Whatever W&B does, no stage ends by it, and an offline run that kills left in pieces ends whole."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.tracking import Tracking
from domino_lightning.store.work import Work
from domino_lightning.tracking.loggers import ForgivingWandbLogger
from domino_lightning.tracking.metrics_file import METRICS, MetricsFile
from domino_lightning.tracking.wandb import Outputs, log_outputs, stage_run, start_run
from tests.conftest import finished_offline_runs


def test_a_tracker_that_cannot_start_costs_a_warning_not_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def broken(**_: Any) -> None:
        raise wandb.Error("no such service")

    monkeypatch.setattr(wandb, "init", broken)
    assert start_run(Tracking("offline", root=str(tmp_path)), "id", "name", "tune", {}) is None
    assert "no such service" in caplog.text


@pytest.mark.parametrize(
    "error", [OSError("disk"), ValueError("mode"), RuntimeError("home"), KeyError("x"), AssertionError("y")]
)
def test_whatever_wandb_raises_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    import wandb

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(wandb, "init", fails)
    assert start_run(Tracking("offline", root=str(tmp_path)), "id", "name", "prepare", {}) is None
    (record,) = caplog.records
    assert type(error).__name__ in record.message
    assert "not tracked" in record.message


def test_a_directory_that_wandb_cannot_use_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "wandb").write_text("a file")
    assert start_run(Tracking("offline", root=str(tmp_path)), "id", "name", "prepare", {}) is None
    (tmp_path / "root").write_text("a file")
    assert start_run(Tracking("offline", root=str(tmp_path / "root")), "id", "name", "prepare", {}) is None
    assert len(caplog.records) == 2
    assert "tracking.wandb=disabled" in caplog.records[0].message
    assert start_run(Tracking("offline", root=str(tmp_path)), "other", "name", "trial", {}) is None
    assert len(caplog.records) == 2  # it was said


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "foo"), ("WANDB_BASE_URL", "not a url")])
def test_settings_that_wandb_refuses_cost_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    run = start_run(Tracking("offline", root=str(tmp_path)), "id", "name", "prepare", {})
    if run is None:
        assert "not tracked" in caplog.text
    else:  # a setting that it did not need offline
        run.finish()


class BrokenRun:
    """A W&B run whose process has gone."""

    offline = True
    id = name = "gone"

    def __init__(self) -> None:
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        raise BrokenPipeError("the service is gone")


def test_a_tracker_that_fails_while_a_stage_runs_never_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = BrokenRun()
    work = Work(tmp_path, {}, "0" * 16, {}, run=run)
    log_outputs(work, "prepare", Outputs({"a": 1.0}, "", [], ""))
    logger = ForgivingWandbLogger(experiment=run)  # type: ignore[arg-type]
    for step in range(3):
        logger.log_metrics({"a": 1.0}, step)
        logger.log_table("t", columns=["a"], data=[[1]])
    logger.finalize("success")
    assert len(caplog.records) == 2  # once at the end of a stage, once in a fit


def killed_twice(folder: Path) -> Work:
    """Steps 0 to 9 in three starts, each of which logs again what came after the last checkpoint."""
    tracking = Tracking("offline", "tests", entity="team", root=str(folder / "store"))
    (folder / "stage").mkdir()
    table = MetricsFile(folder / "stage" / METRICS)
    work = Work(folder / "stage", {}, "0123456789abcdef", {}, tracking)
    for first, last in ((0, 4), (3, 8), (6, 10)):
        time.sleep(1.1)  # W&B names a run's directory by the second
        started = replace(work, run=stage_run(work, "tune", []))
        for step in range(first, last):
            started.run.log({"tune/train/loss": 1 / (step + 1), "trainer/global_step": step})
            table.append(step, {"tune/train/loss": 1 / (step + 1)})
        if last < 10:
            started.run.finish(exit_code=1)
    log_outputs(started, "tune", Outputs({"tune/train/loss": 0.1}, "", [], ""))
    return work


def test_a_run_that_kills_left_in_pieces_offline_ends_whole(tmp_path: Path) -> None:
    work = killed_twice(tmp_path)
    (whole,) = finished_offline_runs(tmp_path / "store", 1)
    assert whole.run_id == work.fingerprint
    assert whole.history["trainer/global_step"] == list(range(10))
    assert whole.history["tune/train/loss"] == [1 / (step + 1) for step in range(10)]
    assert whole.history["_step"] == list(range(10))
    assert whole.summary["tune/train/loss"] == 0.1
