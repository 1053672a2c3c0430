"""The suite of hostile programs as a whole; the programs are in the other files of this folder."""

from __future__ import annotations

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox import test_escapes, test_exits, test_forged_results, test_lying_objects, test_resources
from tests.execution.sandbox.hostile import ASSERT, CHECK, FLOATS, LISTS, PRINT, RETURN, RIGHT, hostile, verdict


def test_a_right_answer_passes_each_of_the_problems(tier: str, limits: Limits) -> None:
    """Without this, a sandbox that fails everything would pass the suite."""
    for tests in (RETURN, ASSERT, CHECK):
        assert verdict(hostile(tests, RIGHT), tier, limits).passed
    assert verdict(hostile(PRINT, "print(2 * int(input()))"), tier, limits).passed
    assert verdict(hostile(LISTS, "f = sorted"), tier, limits).passed
    assert verdict(hostile(FLOATS, "def f(x): return x ** 0.5"), tier, limits).passed


def test_there_are_many() -> None:
    files = (test_escapes, test_exits, test_forged_results, test_lying_objects, test_resources)
    assert sum(len(file.PROGRAMS) for file in files) >= 100
