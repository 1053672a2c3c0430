"""What the finished trials of a sweep, its pilot, say of the seeds and problems that a difference needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from domino_lightning.evaluation.power import (
    MOST_SEEDS,
    TooFewSeeds,
    Variances,
    power,
    seeds_needed,
    smallest_gain,
    variances,
)
from domino_lightning.reporting.sweep.arms import SweepData
from domino_lightning.reporting.sweep.estimates import difference_components

POINTS, POWER = 3.0, 0.8
TIMES = (1, 2, 3, 5, 10)  # problems, as multiples of the pilot's
HEADINGS = ("problems", "groups", "seeds an arm", "if seeds vary most", f"points seen by {MOST_SEEDS} seeds")


@dataclass(frozen=True)
class Needed:
    """The answer.

    Attributes:
        pilot: what it rests on.
        sizes: standard deviations of a difference.
        seen: what a sweep of the pilot's size sees.
        points: the difference asked about.
        power: the chance to see it.
        rows: cells under `HEADINGS`, for several numbers of problems.
    """

    pilot: str
    sizes: str
    seen: str
    points: float
    power: float
    rows: list[list[str]]

    @property
    def short(self) -> str:
        """The answer at the pilot's own problems, in one sentence."""
        problems, groups, seeds, most, _ = self.rows[0]
        return (
            f"{self.points:g} points of pass@1 are seen with {self.power:.0%} power by {seeds} seeds an arm on "
            f"{problems} problems in {groups} groups ({most} if seeds vary most)"
        )

    @property
    def caveat(self) -> str:
        """What is assumed."""
        return (
            f"for {self.points:g} points with {self.power:.0%} power at 5%, one comparison (Holm's correction for "
            "several asks for more); problems like the pilot's, in groups like its groups"
        )


def needed(data: SweepData, points: float = POINTS, wanted: float = POWER, times: Sequence[int] = TIMES) -> Needed:
    """Seeds and problems that see a difference, by the variances of a sweep's finished trials.

    Args:
        data: the pilot.
        points: of pass@1, in percent.
        wanted: power.
        times: numbers of problems to answer for, as multiples of the pilot's.

    Raises:
        TooFewSeeds: no arm has two seeds in common with the baseline.
    """
    rows = difference_components(data.arms, data.baseline)
    tables = [row for row in rows if row is not None and not isinstance(row, str)]
    try:
        found = variances([one for _, one in tables])
    except TooFewSeeds as error:
        raise TooFewSeeds(f"{data.path}: {error}") from None
    pairs, pilot = max(tables, key=lambda row: row[1].seeds)
    problems, groups, seeds = len(pairs[0][0]), pilot.groups, pilot.seeds
    sizes = [100 * sqrt(value) for value in (found.seeds, found.most_seeds, found.groups, found.rest)]
    least = smallest_gain(found, seeds, groups, wanted)
    return Needed(
        pilot=f"pilot: {len(tables)} arms against {data.baseline.label}, up to {seeds} seeds, {problems} problems in "
        f"{groups} groups",
        sizes="standard deviations of a difference, in points: {:.1f} between seeds (with {} degrees of freedom up to "
        "{:.1f}), {:.1f} between groups, {:.1f} the rest of a seed on a group".format(
            sizes[0], found.freedom, *sizes[1:]
        ),
        seen=f"at the pilot's size {points:g} points are found by {power(found, points / 100, seeds, groups):.0%}; "
        + (f"{wanted:.0%} takes {100 * least:.1f} points" if least else f"no difference is found by {wanted:.0%}"),
        points=points,
        power=wanted,
        rows=[_row(found, points, wanted, each * problems, each * groups) for each in times],
    )


def _row(found: Variances, points: float, wanted: float, problems: int, groups: int) -> list[str]:
    worst = Variances(found.most_seeds, found.groups, found.rest, found.freedom, found.uncertain)
    counts = [seeds_needed(one, points / 100, groups, wanted) for one in (found, worst)]
    floor = smallest_gain(found, MOST_SEEDS, groups, wanted)
    seeds = [str(count) if count else f"over {MOST_SEEDS}" for count in counts]
    return [str(problems), str(groups), *seeds, f"{100 * floor:.1f}" if floor else "–"]
