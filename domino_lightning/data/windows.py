"""Splits by date: learn from what was published in one window, test on what came in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

KEY = "prepare.split.windows"


class Sides(NamedTuple):
    """Records of the two windows; `outside` counts those in neither, `straddling` those of a group in both."""

    reference: list[Record]
    test: list[Record]
    outside: int
    straddling: int


@dataclass(frozen=True)
class Windows:
    """Two half-open windows of dates, [first day, day after the last), each ISO (2023-05-01).

    A test window after the day a model's training data ends is LiveCodeBench's guard against contamination
    (Jain et al. 2024, arXiv 2403.07974).

    Args:
        reference: window of references and held-out texts.
        test: window of test problems; it may not overlap the other.
        field: the record's date.
    """

    reference: tuple[str, str]
    test: tuple[str, str]
    field: str = "contest_date"

    def days(self) -> dict[str, tuple[date, date]]:
        """First day, and day after the last, of each window.

        Raises:
            UserError: a date that is none, an empty window, or windows that overlap.
        """
        found = {}
        for name in ("reference", "test"):
            try:
                start, stop = (date.fromisoformat(text) for text in getattr(self, name))
            except ValueError as error:
                raise UserError(f"{KEY}.{name}: {error}. Give two dates such as [2023-05-01, 2023-10-01].") from None
            if not start < stop:
                raise UserError(f"{KEY}.{name}: {start} to {stop} holds no day; the second date is the day after.")
            found[name] = start, stop
        (a, b), (c, d) = found.values()
        if a < d and c < b:
            raise UserError(f"{KEY}: {a} to {b} and {c} to {d} overlap. Let one window end where the other starts.")
        return found

    def problem(self, record: Record) -> str | None:
        """What is wrong with a record, "has no ..."; None if it has a date."""
        if day_of(record, self.field) is not None:
            return None
        told = f"has no ISO date in '{self.field}'; it is {record.get(self.field)!r}"
        return f"{told} (name the field that has it as {KEY}.field, or set {KEY}=null)"

    def sides(self, records: Sequence[Record]) -> Sides:
        """The records of each window.

        A group with records in both windows (one function, say, in two contests) stays in the earlier one.

        Raises:
            UserError: a record without a date, or windows that make no sense.
        """
        windows = self.days()
        found: dict[str, list[Record]] = {name: [] for name in windows}
        outside = 0
        for record in records:
            day = day_of(record, self.field)
            if day is None:
                raise UserError(f"row '{record['id']}' {self.problem(record)}.")
            inside = [name for name, (start, stop) in windows.items() if start <= day < stop]
            outside += not inside
            for name in inside:
                found[name].append(record)
        earlier, later = sorted(windows, key=lambda name: windows[name])
        taken = {record["group"] for record in found[earlier]}
        kept = [record for record in found[later] if record["group"] not in taken]
        straddling = len(found[later]) - len(kept)
        found[later] = kept
        return Sides(found["reference"], found["test"], outside, straddling)


def day_of(record: Mapping[str, Any], field: str) -> date | None:
    """The day of an ISO date or time in a record; None where there is none."""
    value = record.get(field)
    try:
        return datetime.fromisoformat(value).date() if isinstance(value, str) else None
    except ValueError:
        return None
