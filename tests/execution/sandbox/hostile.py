"""What the hostile programs of this folder are written for, and what they are held to.

Each is a wrong answer with a trick (or a right one that does not end cleanly), for one of three problems:
print twice the input, return twice the argument, and the same under assertions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from domino_lightning.domains.base import Verdict
from domino_lightning.domains.codegen.grading import grade_completion
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.unit_test import Rules

PRINT = [{"type": "stdin", "input": "21\n", "output": "42\n"}, {"type": "stdin", "input": "4\n", "output": "8\n"}]
RETURN = [{"type": "functional", "input": "21", "output": "42"}, {"type": "functional", "input": "4", "output": "8"}]
ASSERT = [{"type": "assert", "code": "assert f(21) == 42\nassert f(4) == 8"}]
CHECK = [{"type": "assert", "code": "def check(candidate):\n    assert candidate(21) == 42\n\ncheck(f)"}]
LISTS = [{"type": "assert", "code": "assert f([3, 1, 2]) == [1, 2, 3]\nassert f([]) == []"}]
FLOATS = [{"type": "assert", "code": "assert abs(f(2) - 1.4142135) < 1e-6"}]

DEFINE = "\ndef f(x):\n    return x\n"  # an honest wrong answer after the trick
RIGHT = "\ndef f(x):\n    return 2 * x\n"
EVERY_FD = """
import os
def shout(data):
    for fd in range(0, 64):
        try: os.write(fd, data)
        except OSError: pass
"""
EQUAL = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0.0
    def __len__(self): return 3
    def __iter__(self): return iter([Liar()] * 3)
    def __getitem__(self, key): return Liar()
    def __getattr__(self, name): return Liar()
    def __call__(self, *args): return Liar()
"""


class Hostile(NamedTuple):
    tests: list[dict[str, str]]
    program: str
    statuses: tuple[str, ...]


def hostile(tests: list[dict[str, str]], program: str, *statuses: str) -> Hostile:
    return Hostile(tests, program, statuses)


def verdict(case: Hostile, tier: str, limits: Limits) -> Verdict:
    record: dict[str, Any] = {"entry_point": None if case.tests is PRINT else "f", "tests": case.tests}
    return grade_completion(record, case.program, None, Rules(limits, tier))


def require_failure(case: Hostile, tier: str, limits: Limits) -> None:
    """It does not pass, says so in bounds, leaves judgement to the grader, and the sandbox as good as before."""
    found = verdict(case, tier, limits)
    assert not found.passed
    assert found.status in case.statuses, found
    assert (found.tier, found.trust) == (tier, "parent")
    assert len(found.detail) < 1000
    assert found.detail.isprintable()
    assert found.wall_s < 60
    assert verdict(hostile(ASSERT, RIGHT), tier, limits).passed
