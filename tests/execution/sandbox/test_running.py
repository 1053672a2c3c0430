"""A program and its checker while their parent is held up: what they need has been sent by then."""

from __future__ import annotations

import time
from typing import Any

import pytest

from domino_lightning.execution.sandbox.box import Box
from tests.execution.sandbox.hostile import ASSERT, PRINT, RETURN, RIGHT, hostile, verdict


@pytest.mark.parametrize("tests", [ASSERT, PRINT, RETURN], ids=["assert", "stdin", "functional"])
def test_a_parent_that_is_held_up_after_the_start_gets_every_report(
    tests: Any, tier: str, limits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a crowded machine a checker may have ended before its parent runs again."""
    spawn = Box.spawn

    def held_up(self: Box, *args: Any) -> None:
        spawn(self, *args)
        time.sleep(0.3)

    monkeypatch.setattr(Box, "spawn", held_up)
    program = "print(2 * int(input()))" if tests is PRINT else RIGHT
    found = verdict(hostile(tests, program), tier, limits)
    assert (found.passed, found.status) == (True, "passed"), found
