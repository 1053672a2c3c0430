"""A rank on a cluster that is asked to end while it trains: it saves, yields, and continues to the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from lightning.pytorch import Callback

from domino_lightning.utils import yielding
from tests.modules.stage_runs import SCHEDULES, Run


@pytest.fixture
def heeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a rank that an agent on a cluster may ask to end."""
    before = {number: signal.getsignal(number) for number in yielding.SIGNALS}
    monkeypatch.setenv(yielding.MAY_YIELD, "1")
    monkeypatch.setattr(yielding._State, "asked", False)
    yielding.heed()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Asked(Callback):
    """Asks the process to end at the n-th call of a hook, once training has begun."""

    def __init__(self, hook: str, number: int, by: signal.Signals) -> None:
        self.calls = 0

        def hooked(trainer: Any, *_: Any) -> None:
            self.calls += not trainer.sanity_checking
            if self.calls == number:
                self.calls += 1
                os.kill(os.getpid(), by)

        setattr(self, hook, hooked)


@pytest.mark.parametrize("by", yielding.SIGNALS)
@pytest.mark.parametrize("hook", ["on_validation_batch_start", "on_train_batch_start"])
def test_a_rank_that_is_asked_to_end_saves_at_the_next_step_whatever_it_does(
    tune: Run, heeded: None, monkeypatch: pytest.MonkeyPatch, hook: str, by: signal.Signals
) -> None:
    """In the middle of a validation too, where Lightning would raise on SIGTERM."""
    schedule = SCHEDULES["steps"]
    whole = tune("whole", schedule)
    with pytest.raises(KeyboardInterrupt):
        tune("asked", schedule, Asked(hook, 1, by), every=None)
    monkeypatch.setattr(yielding._State, "asked", False)
    tune("asked", schedule, every=None).assert_same(whole)
