"""λ over the course of training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from domino_lightning.utils.contract import Contract
from domino_lightning.utils.ranges import ZERO_OR_MORE


class Schedule(Contract, ABC, more="docs/extend_a_loss.md says what a schedule gives."):
    """A number that depends on `progress` in [0, 1]; a fork subclasses it and names it by `class_path`."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The value at this point of training."""


class LinearSchedule(Schedule):
    """`first` until progress `begin`, then on a straight line to `last` at progress `end`, and `last` from there.

    With `first: 0` it is a warm-up: D learns to write the domain before the contrast sets in.

    Args:
        first: value at the start, 0 or more.
        last: value at the end, 0 or more.
        begin: in [0, 1).
        end: in (begin, 1].
    """

    def __init__(self, first: float = 0.0, last: float = 1.0, begin: float = 0.0, end: float = 1.0) -> None:
        if not 0 <= begin < end <= 1:
            raise ValueError(f"begin {begin} and end {end} must satisfy 0 <= begin < end <= 1")
        self.first, self.last = non_negative("first", first), non_negative("last", last)
        self.begin, self.end = begin, end

    def __call__(self, progress: float) -> float:
        """Linear interpolation, clamped."""
        return self.first + (self.last - self.first) * self._done(progress)

    def _done(self, progress: float) -> float:
        return min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))


class CosineSchedule(LinearSchedule):
    """As `LinearSchedule`, along half a cosine wave: flat at both ends (Loshchilov & Hutter 2017, arXiv 1608.03983)."""

    def __call__(self, progress: float) -> float:
        """Cosine interpolation, clamped."""
        return self.first + (self.last - self.first) * (1 - math.cos(math.pi * self._done(progress))) / 2


def non_negative(name: str, value: float) -> float:
    """The value.

    Raises:
        ValueError: it is negative, infinite or no number.
    """
    if value not in ZERO_OR_MORE:
        raise ValueError(f"{name} must be {ZERO_OR_MORE.refusal(value)}, not {value}")
    return value
