"""What is said of a running sweep."""

from __future__ import annotations

from domino_lightning.cli.sweep_display import time_left
from domino_lightning.sweep.events import StageState, SweepState


def state(**stages: StageState) -> SweepState:
    """Stages by "<stage>_<number>"."""
    return SweepState({tuple(name.split("_")): known for name, known in stages.items()})  # type: ignore[misc]


def done(seconds: float) -> StageState:
    return StageState("finished", wall_s=seconds)


def test_nothing_is_said_of_the_time_left_before_a_stage_of_a_kind_that_is_left_has_ended() -> None:
    """The seconds of `prepare` say nothing of the minutes that `tune` takes."""
    assert time_left(state(prepare_1=done(5.0), tune_1=StageState("running"), tune_2=StageState()), {}, 2) == ""
    assert time_left(state(tune_1=StageState()), {}, 2) == ""
    assert time_left(state(tune_1=done(60.0)), {}, 2) == ""


def test_time_left_is_more_than_that_of_the_kinds_that_are_known() -> None:
    known = state(tune_1=done(60.0), tune_2=StageState("running"), tune_3=StageState(), curate_1=StageState())
    assert time_left(known, {("tune", "2"): 30.0}, 1) == "more than 1 min 30 s left"
    known.stages["curate", "1"] = done(10.0)
    assert time_left(known, {("tune", "2"): 30.0}, 1) == "about 1 min 30 s left"


def test_time_left_is_shared_by_the_slots_and_no_less_than_the_longest_stage() -> None:
    known = state(tune_1=done(60.0), **{f"tune_{number}": StageState() for number in range(2, 6)})
    assert time_left(known, {}, 2) == "about 2 min left"
    assert time_left(known, {}, 9) == "about 1 min left"
