"""Schedules of a loss's weight at points worked out by hand."""

from __future__ import annotations

import math

import pytest

from domino_lightning.losses import CosineSchedule, LinearSchedule


def test_linear_waits_rises_and_stays() -> None:
    schedule = LinearSchedule(first=0.2, last=1.0, begin=0.25, end=0.75)
    assert [schedule(at) for at in (0.0, 0.25, 0.75, 1.0)] == [0.2, 0.2, 1.0, 1.0]
    assert schedule(0.5) == pytest.approx(0.6)


def test_linear_may_fall() -> None:
    schedule = LinearSchedule(first=1.0, last=0.0)
    assert [schedule(at) for at in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_cosine_has_the_same_ends_and_middle_and_is_flat_at_the_ends() -> None:
    schedule = CosineSchedule(first=0.0, last=2.0, end=0.5)
    assert [schedule(0.0), schedule(0.5), schedule(1.0)] == [0.0, 2.0, 2.0]
    assert schedule(0.25) == pytest.approx(1.0)
    assert schedule(0.125) == pytest.approx(2 * (1 - math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize(("begin", "end"), [(0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_a_span_outside_zero_to_one_or_of_no_length_is_refused(begin: float, end: float) -> None:
    with pytest.raises(ValueError, match="0 <= begin < end <= 1"):
        LinearSchedule(begin=begin, end=end)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="first must be 0 or more"):
        LinearSchedule(first=-1.0)
    with pytest.raises(ValueError, match="last must be .*0 or more"):
        CosineSchedule(last=math.nan)
