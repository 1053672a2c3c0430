"""`metrics.csv` in long format: written row by row, tidied at the end of a fit, read back."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.utils.atomic import atomic_write

METRICS, SPEED = "metrics.csv", "speed.csv"  # what depends on the clock stands apart, in speed.csv
FIELDS = ["step", "key", "value"]


class Metric(NamedTuple):
    """One row of a stage's `metrics.csv`."""

    step: int
    key: str
    value: float


class MetricsFile:
    """Rows of step, key, value; appended to, so that a kill loses at most the last ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(FIELDS)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one row a metric; a later row for the same step and key replaces the earlier when read."""
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((step, key, repr(float(value))) for key, value in metrics.items())

    def tidy(self) -> None:
        """Keep the last row of each (step, key), in order of step: what steps done twice after a kill leave."""
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(FIELDS)][1:]
        latest = {(int(step), key): value for step, key, value in rows}
        with atomic_write(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(FIELDS)
            writer.writerows((step, key, latest[step, key]) for step, key in sorted(latest))


def read_metrics(stage_dir: Path, name: str = METRICS) -> list[Metric]:
    """The rows of a stage's `metrics.csv` by step; a (step, key) repeated after resuming has its last row.

    A broken last line is left out: a killed process may leave one. No file is no rows.

    Raises:
        UserError: a broken line elsewhere, or columns other than step,key,value.
    """
    path = Path(stage_dir) / name
    if not path.is_file():
        return []
    rows: dict[tuple[int, str], float] = {}
    broken: tuple[int, list[str]] | None = None
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header[:3] != FIELDS:
            raise UserError(f"{path}, line 1: columns {','.join(header)}, where step,key,value is expected.")
        for row in reader:
            if broken is not None:
                raise UserError(f"{path}, line {broken[0]}: not step,key,value: {','.join(broken[1])!r}.")
            try:
                step, key, value = row[:3]
                rows[int(float(step)), key] = float(value)
            except (ValueError, OverflowError):
                broken = (reader.line_num, row) if row else None
    return sorted((Metric(step, key, value) for (step, key), value in rows.items()), key=lambda row: row.step)


def steps_of(rows: Iterable[Metric]) -> dict[int, dict[str, float]]:
    """The values of each step by key, in order of steps."""
    steps: dict[int, dict[str, float]] = {}
    for step, key, value in rows:
        steps.setdefault(step, {})[key] = value
    return dict(sorted(steps.items()))


def series(rows: Iterable[Metric], key: str) -> list[tuple[int, float]]:
    """(step, value) of one key, by step."""
    return [(row.step, row.value) for row in rows if row.key == key]


def best_heldout(rows: Iterable[Metric], key: str = "tune/heldout/nll") -> tuple[int, float] | None:
    """(step, nats/token) of the lowest finite held-out NLL; the earliest of equals.

    What is there before the first step (step 0) is shown, and is nothing that a stage could export.
    """
    finite = [(step, value) for step, value in series(rows, key) if step > 0 and math.isfinite(value)]
    return min(finite, key=lambda point: point[1], default=None)


def last_values(stage_dir: Path) -> dict[str, float]:
    """The last value of every key that a stage has logged, and `<key>_best`, the lowest, of a held-out NLL.

    No step that was validated, or no finite value, is no best one.
    """
    rows = [row for name in (METRICS, SPEED) for row in read_metrics(stage_dir, name)]
    values = {row.key: row.value for row in rows}
    for key in [key for key in values if key.endswith("heldout/nll")]:
        if (best := best_heldout(rows, key)) is not None:
            values[f"{key}_best"] = best[1]
    return values
