"""A program and its box while their parent is held up, its threads end, and other programs fail."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from domino_lightning.execution.sandbox.box import Box
from domino_lightning.execution.sandbox.execute import execute
from domino_lightning.execution.sandbox.pool import discard_box, open_box
from tests.execution.sandbox.hostile import ASSERT, PRINT, RETURN, RIGHT, hostile, verdict

# Under limits alone a program can: its grandparent is the fork server.
ENDS_ITS_BOX = """
import os, signal, time
stat = open(f"/proc/{os.getppid()}/stat").read()
os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
time.sleep(9)
"""


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


def test_a_box_outlives_the_thread_that_opened_it(tier: str) -> None:
    """The kernel's signal at a parent's death is one at the death of the thread that started the child."""
    discard_box(open_box(tier))
    opened: list[Box] = []
    thread = threading.Thread(target=lambda: opened.append(open_box(tier)))
    thread.start()
    thread.join()
    for _ in range(20):
        assert not opened[0].gone
        time.sleep(0.02)
    assert open_box(tier) is opened[0]


def test_a_program_whose_box_ends_every_time_beside_another_is_run_alone(limits: Any) -> None:
    """A program under limits alone can end its box, and does so whenever it is run: that is its own fault only."""
    job = {"mode": "program", "code": "import time; time.sleep(0.6); print(7)", "implicit": False}
    found: list[Any] = []
    good = threading.Thread(target=lambda: found.extend(execute([job], limits, tier="rlimits")))
    good.start()
    time.sleep(0.2)
    (bad,) = execute([{**job, "code": ENDS_ITS_BOX}], limits, tier="rlimits")
    good.join()
    assert (found[0].code, found[0].stdout) == (0, b"7\n")
    assert bad.code is None


def test_a_program_whose_box_another_one_ended_is_run_again(tier: str, limits: Any) -> None:
    job = {"mode": "program", "code": "import time; time.sleep(0.5); print(7)", "implicit": False}
    box = open_box(tier)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(execute([job], limits, tier=tier)))
    thread.start()
    time.sleep(0.25)
    discard_box(box)
    thread.join()
    assert (found[0].code, found[0].stdout) == (0, b"7\n")
    assert box.gone
    assert open_box(tier) is not box
