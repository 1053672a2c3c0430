"""Ranges of numbers, and what is said of those outside."""

from __future__ import annotations

from math import inf, nan

import pytest

from domino_lightning.utils.ranges import MOST, ONE_OR_MORE, POSITIVE, UNIT, WORKERS, ZERO_OR_MORE, Range


@pytest.mark.parametrize("value", [nan, inf, -inf, 10**400, MOST + 1, "1", None])
def test_no_range_has_what_arithmetic_ends_at(value: object) -> None:
    assert all(value not in each for each in (ONE_OR_MORE, POSITIVE, UNIT, ZERO_OR_MORE))


@pytest.mark.parametrize(
    ("allowed", "value", "words"),
    [
        (ONE_OR_MORE, 0, "1 or more"),
        (ONE_OR_MORE, MOST + 1, f"1 or more, and at most {MOST}"),
        (ZERO_OR_MORE, 10**400, f"0 or more, and at most {MOST}"),
        (ZERO_OR_MORE, nan, "finite, and 0 or more"),
        (WORKERS, 100_000, "from 1 to 1024"),
        (UNIT, MOST + 1, "from 0 to 1"),
    ],
)
def test_a_refusal_says_the_end_that_was_passed(allowed: Range, value: float, words: str) -> None:
    assert value not in allowed and allowed.refusal(value) == words
