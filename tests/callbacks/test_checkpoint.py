"""When a checkpoint is written: by steps, by seconds, by one clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from domino_lightning.callbacks import checkpoint
from domino_lightning.callbacks.checkpoint import ResumableCheckpoint, refuse_unsavable
from domino_lightning.errors import UserError


def saved_steps(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step_s: float,
    every: int | None,
    seconds: float | None,
    save_s: float = 0.0,
    clock_of_rank_0: Any = lambda late: late,
) -> list[int]:
    """The steps of twelve after which one is written, where a step takes `step_s` and a save `save_s` seconds."""
    now, saved = [100.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    loop = SimpleNamespace(_should_check_val_fx=lambda _: False)
    trainer: Any = SimpleNamespace(
        global_step=0,
        callbacks=[],
        is_global_zero=False,
        strategy=SimpleNamespace(broadcast=clock_of_rank_0),
        fit_loop=SimpleNamespace(_should_accumulate=lambda: False, epoch_loop=loop, _data_fetcher=None),
        _logger_connector=SimpleNamespace(update_train_step_metrics=lambda: None),
    )

    def save(path: Path) -> None:
        now[0] += save_s
        saved.append(trainer.global_step)

    trainer.save_checkpoint = save
    callback = ResumableCheckpoint(folder, every, None, seconds)
    now[0] += 1000.0  # what comes before the fit does not count
    callback.on_train_start(trainer, None)  # type: ignore[arg-type]
    for _ in range(12):
        now[0] += step_s
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    return saved


@pytest.mark.parametrize(
    ("step_s", "every", "seconds", "expected"),
    [
        (0.4, 5, None, [5, 10]),
        (0.4, None, None, []),
        (0.4, None, 2.0, [5, 10]),
        (60.0, None, 2.0, list(range(1, 13))),
        (0.4, 3, 2.0, [3, 6, 9, 12]),  # steps come first
        (1.0, 5, 2.0, [2, 4, 5, 7, 9, 10, 12]),  # either
    ],
)
def test_steps_or_seconds_since_the_last_one_whichever_comes_first(
    step_s: float, every: int | None, seconds: float | None, expected: list[int],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert saved_steps(tmp_path, monkeypatch, step_s, every, seconds) == expected


def test_the_time_that_writing_takes_is_no_part_of_the_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved_steps(tmp_path, monkeypatch, 1.0, None, 4.0, save_s=30.0) == [4, 8, 12]


def test_every_rank_goes_by_the_clock_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([False, False, True, *[False] * 9])
    assert saved_steps(tmp_path, monkeypatch, 99.0, None, 4.0, clock_of_rank_0=lambda _: next(said)) == [3]


class Holds(Callback):
    """A callback of a fork that keeps something."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}


@pytest.mark.parametrize("state", [lambda: 1, Holds(0)])
def test_a_callback_whose_state_no_checkpoint_can_hold_is_named(state: Any) -> None:
    trainer: Any = SimpleNamespace(callbacks=[ResumableCheckpoint(Path(), 1, None), Holds([1, torch.ones(2)])])
    refuse_unsavable(trainer)
    trainer.callbacks.append(Holds(state))
    with pytest.raises(UserError, match=r"test_checkpoint\.Holds breaks lightning\.pytorch\.Callback: state_dict must"):
        refuse_unsavable(trainer)
