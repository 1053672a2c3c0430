"""Ranges of numbers: checked and said alike wherever a number is given, and never NaN."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from domino_lightning.errors import OutOfRange

MOST = 10**12  # more than anything here is counted in, and less than what arithmetic and clocks of machines refuse


class Range(NamedTuple):
    """An interval of the finite numbers, and how it is said; `low` and `high` are in it unless they are `open`."""

    words: str
    low: float
    high: float = MOST
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or not -inf < value < inf:
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def refusal(self, value: object) -> str:
        """What a value that is not in it must be."""
        if isinstance(value, (int, float)) and not -inf < value < inf:
            return f"finite, and {self.words}"
        above = self.high == MOST and isinstance(value, (int, float)) and value > MOST
        return f"{self.words}, and at most {MOST}" if above else self.words


ONE_OR_MORE, TWO_OR_MORE = Range("1 or more", 1), Range("2 or more", 2)
ZERO_OR_MORE, POSITIVE = Range("0 or more", 0), Range("more than 0", 0, open_low=True)
UNIT, UNIT_OPEN_LOW = Range("from 0 to 1", 0, 1), Range("in (0, 1]", 0, 1, open_low=True)
UNIT_OPEN_HIGH = Range("in [0, 1)", 0, 1, open_high=True)
# Processes and threads of one machine: more are a slip, and are begun before anything says so.
WORKERS, WORKERS_OR_NONE = Range("from 1 to 1024", 1, 1024), Range("from 0 to 1024", 0, 1024)
ROWS = Range("from 1 to 1000000", 1, 10**6)  # that go through a model together
MEMORY_MB = Range("64 or more, which an interpreter alone needs", 64)
SECONDS = Range("more than 0, and at most 1000000", 0, 10**6, open_low=True)  # systems wait no longer than 24 days


def check_ranges(where: str, values: object, **ranges: Range) -> None:
    """Refuse the first attribute of `values` that is outside its range; None is never refused.

    Args:
        where: begins the message: the section and group, or the class.
        values: an object with the attributes.
        ranges: attribute names with their ranges.

    Raises:
        OutOfRange: it names the attribute, its value and the range.
    """
    for name, allowed in ranges.items():
        value = getattr(values, name)
        if value is not None and value not in allowed:
            raise OutOfRange(where, name, value, allowed.refusal(value))
