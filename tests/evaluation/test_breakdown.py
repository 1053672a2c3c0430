from __future__ import annotations

import pytest

from domino_lightning.evaluation.breakdown import Breakdown, score_evaluation


def problem(number: int, **fields: object) -> dict[str, object]:
    return {"id": str(number), **fields}


def verdict(number: int, *passed: bool) -> dict[str, object]:
    rows = [{"passed": each, "status": "passed" if each else "failed"} for each in passed]
    return {"id": str(number), "group": str(number), "verdicts": rows}


def test_parts_are_values_and_calendar_quarters() -> None:
    problems = [
        problem(0, difficulty="easy", platform="x", contest_date="2023-05-07T00:00:00"),
        problem(1, difficulty="hard", platform="x", contest_date="2023-06-30"),
        problem(2, platform="x", contest_date="2023-07-01"),
    ]
    assert Breakdown().parts(problems) == {
        "difficulty=easy": [0],
        "difficulty=hard": [1],
        "difficulty=unknown": [2],
        "contest_date=2023-Q2": [0, 1],
        "contest_date=2023-Q3": [2],
    }
    assert Breakdown(fields=(), boundaries=("2023-06-01", "2023-07-01")).parts(problems) == {
        "contest_date=2023-06-01 to 2023-07-01": [1],
        "contest_date=before 2023-06-01": [0],
        "contest_date=from 2023-07-01": [2],
    }
    assert Breakdown().parts([problem(0), problem(1)]) == {}


def test_parts_have_the_least_and_the_greatest_k() -> None:
    problems = [problem(i, difficulty="easy" if i < 2 else "hard") for i in range(4)]
    verdicts = [
        verdict(0, True, True, True), verdict(1, True, False, False),
        verdict(2, False, False, True), verdict(3, False, False, False),
    ]  # fmt: skip
    scores = score_evaluation(problems, verdicts, None, Breakdown())
    assert [name for name in scores if name.startswith("difficulty=hard/")] == [
        f"difficulty=hard/{name}"
        for name in ("pass@1", "pass@1_low", "pass@1_high", "pass@3", "pass@3_low", "pass@3_high",
                     "problems", "groups", "samples")
    ]  # fmt: skip
    assert scores["difficulty=easy/pass@1"] == pytest.approx((1 + 1 / 3) / 2)
    assert scores["difficulty=hard/pass@3"] == 0.5
    assert scores["pass@2"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 0) / 4)
    assert (scores["passed"], scores["failed"]) == (5, 7)
