"""Lightning's callbacks that cannot work in a stage are told in a line, before anything runs where that is known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    ModelPruning,
    Timer,
    WeightAveraging,
)

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.stages.trainer_callbacks import check_callbacks, failure

LOGGED = ["tune/heldout/nll", "tune/train/", "step"]


class Mine(Callback):
    """One of a fork."""


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"callbacks": [EarlyStopping("heldout/nll")]}, "monitor 'heldout/nll' of EarlyStopping must be .*: tune/held"),
        ({"callbacks": EarlyStopping("tune/heldout/nl")}, "monitor 'tune/heldout/nl' of EarlyStopping"),
        (
            {"callbacks": [ModelCheckpoint(monitor="loss")]},
            "monitor 'loss' of ModelCheckpoint .* tune/train/<name>, st",
        ),
        ({"callbacks": [WeightAveraging()]}, "WeightAveraging takes a module's weights before stage tune has loaded"),
        ({"callbacks": [EMAWeightAveraging()]}, "EMAWeightAveraging takes .* Leave it out"),
        ({"callbacks": [ModelPruning("l1_unstructured")]}, "ModelPruning takes"),
        ({"callbacks": [Timer("00:00:00:00")]}, "duration of Timer must be more than 0"),
        ({"max_time": "00:00:00:00"}, "tune.trainer: max_time 00:00:00:00 must be more than 0"),
        ({"max_time": {"minutes": 0}}, "must be more than 0"),
        ({"max_time": timedelta(0)}, "must be more than 0"),
    ],
)
def test_what_could_not_work_is_refused(trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_callbacks("tune", trainer, LOGGED)


@pytest.mark.parametrize(
    "callbacks",
    [
        [EarlyStopping("tune/heldout/nll"), EarlyStopping("tune/train/own"), ModelCheckpoint(), Timer("00:00:01:00")],
        [EarlyStopping("mine"), Mine()],
        [EarlyStopping("mine", strict=False)],
    ],
    ids=["logged", "a fork's callback may log it", "it may be missing"],
)
def test_what_can_be_monitored_is_taken(callbacks: list[Any]) -> None:
    check_callbacks("tune", {"callbacks": callbacks, "max_time": "00:00:00:01"}, LOGGED)


def test_a_module_of_a_fork_may_log_anything() -> None:
    check_callbacks("tune", {"callbacks": [EarlyStopping("mine")]}, None)


def test_what_lightnings_callback_fails_with_is_a_line() -> None:
    stopping: Any = EarlyStopping("gone")
    trainer: Any = type("T", (), {"callback_metrics": {"loss": 1.0}, "fast_dev_run": False})()
    with pytest.raises(RuntimeError) as caught:
        stopping._run_early_stopping_check(trainer)
    told = str(failure("finetune", {"callbacks": [stopping]}, caught.value))
    assert told.startswith("finetune.trainer.callbacks: EarlyStopping failed (RuntimeError: Early stopping conditioned")
    assert told.endswith("Change its init_args, or leave it out.") and "\n" not in told
    assert failure("finetune", {"callbacks": [EarlyStopping("gone")]}, caught.value) is None  # not of the section


def test_what_lightning_refuses_at_the_fit_is_a_line() -> None:
    with pytest.raises(MisconfigurationException) as caught:
        EarlyStopping("x", mode="up")
    told = str(failure("tune", {}, caught.value))
    assert told.startswith("tune.trainer: Lightning refuses it (MisconfigurationException: `mode` can be")
    assert "\n" not in told


class Broken(EarlyStopping):
    """One of a fork, whose own lines say what is wrong."""

    def _evaluate_stopping_criteria(self, current: Any) -> Any:
        raise MisconfigurationException("mine")


def test_what_a_forks_code_raises_stays_as_it_is() -> None:
    stopping: Any = Broken("loss")
    trainer: Any = type("T", (), {"callback_metrics": {"loss": torch.tensor(1.0)}, "fast_dev_run": False})()
    with pytest.raises(MisconfigurationException) as caught:
        stopping._run_early_stopping_check(trainer)
    assert failure("tune", {"callbacks": [stopping]}, caught.value) is None


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"limit_train_batches": 0.01}, "limit_train_batches 0.01 must be a number of batches, or a share that comes"),
        ({"max_time": "00:00:00:00"}, "max_time 00:00:00:00 must be more than 0"),
        (
            {"callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "x"}}]},
            "monitor 'x' of EarlyStopping must be what stage tune logs",
        ),
    ],
)
def test_a_check_tells_what_the_fit_would_end_with(
    write_experiment: Callable[..., Path], trainer: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_experiment({"tune": {"trainer": trainer}}))]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told and "\n" not in told
