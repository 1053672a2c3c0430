"""Verdicts of a domain do not contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.domains import CodeExec, Verdict
from domino_lightning.utils.contract import BrokenContract

ROW = {"code": "def f(x):\n    return x + x", "input": "'ab'", "output": "'abab'"}


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [
        (Verdict(True, "failed"), r"\[0\]\[1\]\.status is 'failed'"),
        (Verdict(False, "passed"), r"\[0\]\[1\]\.status is 'passed'"),
        (Verdict(True, "ok"), r"\[0\]\[1\]\.status is 'ok'"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused_with_its_place(verdict: Verdict, shown: str) -> None:
    class Torn(CodeExec):
        def grade(self, records: Any, completions: Any, workers: int) -> Any:
            for texts in completions:
                yield [Verdict(False, "timeout"), *[verdict for _ in texts[1:]]]

    record = Torn().record(ROW, "calls.jsonl, line 1")
    assert [*Torn().grade([record], [["'a'"]], 1)] == [[Verdict(False, "timeout")]]
    with pytest.raises(BrokenContract, match=rf"Torn breaks .*status 'passed' if passed is True.*{shown}"):
        [*Torn().grade([record], [["'a'", "'abab'"]], 1)]
