"""Scores of an evaluation: pass@k over all problems, and over those of one difficulty, platform or date window."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Any

from domino_lightning.data.windows import day_of
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Breakdown:
    """By what scores are broken down, where the problems have it.

    Args:
        fields: fields of the problems; every value is a part.
        date_field: the problems' date.
        boundaries: first days of the second and further date windows, ISO; none: calendar quarters.
    """

    fields: tuple[str, ...] = ("difficulty", "platform")
    date_field: str = "contest_date"
    boundaries: tuple[str, ...] = ()

    def check(self) -> list[date]:
        """The boundaries as days.

        Raises:
            UserError: one is no date, or they do not rise.
        """
        try:
            days = [date.fromisoformat(text) for text in self.boundaries]
        except ValueError as error:
            raise UserError(f"evaluate.breakdown.boundaries: {error}. Give days such as 2023-09-01.") from None
        if days != sorted(set(days)):
            raise UserError(f"evaluate.breakdown.boundaries: {', '.join(map(str, days))} do not rise.")
        return days

    def parts(self, problems: Sequence[Record]) -> dict[str, list[int]]:
        """Places of the problems of every part, such as "difficulty=easy"; a field with one value makes none."""
        days = self.check()
        found: dict[str, list[int]] = {}
        for name in self.fields:
            found |= _by_value(name, [problem.get(name) for problem in problems])
        dates = [day_of(problem, self.date_field) for problem in problems]
        windows = [None if day is None else _window(day, days) for day in dates]
        return found | _by_value(self.date_field, windows)


def _by_value(name: str, values: Sequence[Any]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault("unknown" if value is None else str(value), []).append(place)
    if len(places) < 2:
        return {}
    return {f"{name}={value}": places[value] for value in sorted(places)}


def _window(day: date, boundaries: Sequence[date]) -> str:
    if not boundaries:
        return f"{day.year}-Q{(day.month + 2) // 3}"
    before = [bound for bound in boundaries if bound <= day]
    after = [bound for bound in boundaries if bound > day]
    if not before:
        return f"before {after[0]}"
    return f"{before[-1]} to {after[0]}" if after else f"from {before[-1]}"


def score_evaluation(
    problems: Sequence[Record], verdicts: Sequence[Mapping[str, Any]], k: Sequence[int] | None, breakdown: Breakdown
) -> dict[str, float]:
    """All numbers of an evaluation.

    Args:
        problems: what was asked.
        verdicts: rows of verdicts.jsonl, in the same order.
        k: pass@k for each; None for all up to the samples. Parts have the least and the greatest of them.
        breakdown: the parts.

    Returns:
        `pass@1`, `pass@1_low`, …, `problems`, `groups`, `samples`, a count of every status, and for every part
        `difficulty=easy/pass@1` and so on. An end of an interval that does not exist is left out.
    """
    from domino_lightning.evaluation.comparison import outcome
    from domino_lightning.evaluation.statistics import score_problems

    rows = [outcome(row) for row in verdicts]
    totals, correct, groups = [row.total for row in rows], [row.correct for row in rows], [row.group for row in rows]
    scores = score_problems(correct, totals, groups, k, warn=log.warning)
    reported = [each for each in (k or range(1, min(totals) + 1)) if each <= min(totals)]
    ends = sorted({min(reported), max(reported)}) if reported else []
    for name, places in breakdown.parts(problems).items():
        found = score_problems(
            [correct[place] for place in places],
            [totals[place] for place in places],
            [groups[place] for place in places],
            ends,
        )
        scores |= {f"{name}/{key}": value for key, value in found.items()}
    statuses = [verdict["status"] for row in verdicts for verdict in row["verdicts"]]
    scores |= {status: statuses.count(status) for status in sorted(set(statuses))}
    return {name: value for name, value in scores.items() if isfinite(value)}
