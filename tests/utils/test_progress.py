"""Durations as a person reads them."""

from __future__ import annotations

import pytest

from domino_lightning.utils.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (4.23, "4.2 s"),
        (42.0, "42 s"),
        (60.0, "1 min"),
        (185.4, "3 min 05 s"),
        (3599.6, "60 min"),
        (3600.0, "1 h"),
        (7620.0, "2 h 07 min"),
        (86_400.0, "1 d"),
        (3 * 86_400 + 4 * 3600 + 100.0, "3 d 04 h"),
    ],
)
def test_a_duration_has_two_parts_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
