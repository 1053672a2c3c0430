"""How often intervals hold the truth and tests are wrong, by simulation: the statistics of evaluations and sweeps.

Each replication draws a test split and the seeds of four arms anew, and asks whether the intervals of `domino report`
hold what they are about: the mean over all problems and all seeds that could have been drawn (with one seed: over
all problems, for this seed). Four arms: the baseline, one that is equal to it, one that is ten points better, and one
that is equal in the mean but may have another spread between seeds.

The world: a group of problems has a difficulty u in [0, 1]; each of its problems shares it, or, three times in ten,
has its own; each arm shares a group's difficulty with the baseline, or, two times in ten, has its own. A coder of
mean score m solves a problem with chance u^((1 - m) / m), whose mean over u is m; so most problems are nearly always
or never solved, and those of a group go together (correlation 0.3 or so). A seed shifts m by a normal number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _report import DOCS, parser, publish, table
from numpy.typing import NDArray

from domino_lightning.evaluation.crossed import balanced, components, lent
from domino_lightning.evaluation.intervals import difference_interval, score_interval

SEEDS = (1, 2, 3, 5, 10)
GAIN = 0.1
TARGET = {"score": (93, 97), "difference": (93, 97), "rejected": (3, 7)}
AT_ONCE = 2_000_000  # cells drawn at once: some 100 MiB
SHARED_PROBLEM, SHARED_ARM = 0.7, 0.8

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Shape:
    """A test split: so many problems in groups of these sizes, in turn."""

    problems: int
    sizes: tuple[int, ...]

    @property
    def groups(self) -> list[int]:
        """The size of every group."""
        found: list[int] = []
        while sum(found) < self.problems:
            found.append(self.sizes[len(found) % len(self.sizes)])
        return found

    def __str__(self) -> str:
        return f"{self.problems} in {len(self.groups)}"


@dataclass(frozen=True)
class World:
    """Mean score of the baseline, and the standard deviation between seeds of the arms and of the odd one."""

    score: float
    spread: float
    odd: float


SHAPES = (Shape(60, (1,)), Shape(60, (4,)), Shape(120, (1,)), Shape(120, (1, 2, 3, 4)), Shape(300, (3,)))
WORLDS = (
    World(0.30, 0.005, 0.005),
    World(0.30, 0.02, 0.02),
    World(0.30, 0.05, 0.05),
    World(0.30, 0.005, 0.05),
    World(0.08, 0.01, 0.01),
    World(0.03, 0.005, 0.005),
)


def draw(world: World, shape: Shape, seeds: int, count: int, dice: np.random.Generator) -> Flags:
    """Who solves what, `count` times: (count, A, S, P) booleans, problems of a group side by side."""
    sizes = np.array(shape.groups)
    P, G, A = int(sizes.sum()), len(sizes), 4
    group = np.repeat(np.arange(G), sizes)
    difficulty = dice.random((count, 1, G))
    own = dice.random((count, A, G))
    own[:, 0] = difficulty[:, 0]
    difficulty = np.where(dice.random((count, A, G)) < SHARED_ARM, difficulty, own)[..., group]
    difficulty = np.where(dice.random((count, 1, P)) < SHARED_PROBLEM, difficulty, dice.random((count, 1, P)))
    means = np.array([world.score, world.score, world.score + GAIN, world.score])
    spreads = np.array([world.spread, world.spread, world.spread, world.odd]) * (seeds > 1)
    coders = means[:, None] + spreads[:, None] * dice.standard_normal((count, A, seeds))
    coders = np.clip(coders, 0.001, 0.999)[..., None]
    chances = difficulty[:, :, None, :] ** ((1 - coders) / coders)
    solved: Flags = dice.random(chances.shape) < chances
    return solved


def tables_of(solved: Flags, shape: Shape) -> Floats:
    """Tables (…, S, G) of groups, as the report makes them of verdicts."""
    starts = np.concatenate([[0], np.cumsum(shape.groups)[:-1]])
    return balanced(np.add.reduceat(solved, starts, axis=-1, dtype=np.float64), shape.groups)


def judge(tables: Floats, world: World) -> dict[str, Floats]:
    """For each replication 1 where an interval holds the truth, or a test rejects."""
    arms = [components(tables[:, arm]) for arm in range(4)]
    gains = [components(tables[:, arm] - tables[:, 0]) for arm in range(1, 4)]
    found = {}
    for name, one in (("score", arms[1]), ("score_odd", arms[3])):
        low, high = score_interval(one)
        found[name] = (low <= world.score) & (world.score <= high)
    equal, better, odd = (difference_interval(gain, lent(gains)) for gain in gains)
    for name, (low, high), truth in (("difference", better, GAIN), ("difference_odd", odd, 0.0)):
        found[name] = (low <= truth) & (truth <= high)
    for name, (low, high) in (("rejected", equal), ("rejected_odd", odd), ("power", better)):
        found[name] = (low > 0) | (high < 0)  # where p is below 5%
    return {name: values.astype(np.float64) for name, values in found.items()}


def simulate(world: World, shape: Shape, seeds: int, replications: int) -> dict[str, Any]:
    """Percentages over all replications."""
    dice = np.random.default_rng([round(1e4 * value) for value in (world.score, world.spread, world.odd)] + [seeds])
    each = max(1, min(replications, AT_ONCE // (4 * seeds * shape.problems)))
    parts = [
        judge(tables_of(draw(world, shape, seeds, min(each, replications - done), dice), shape), world)
        for done in range(0, replications, each)
    ]
    rates = {name: 100 * float(np.concatenate([part[name] for part in parts]).mean()) for name in parts[0]}
    where = {"score": world.score, "spread": world.spread, "odd_spread": world.odd, "seeds": seeds}
    return {"world": where, "problems": shape.problems, "groups": len(shape.groups), "percent": rates}


def _range(cells: Sequence[dict[str, Any]], name: str) -> str:
    """Least and greatest percentage over the shapes and, for the odd arm, over both; a star where off target."""
    values = [cell["percent"][key] for cell in cells for key in (name, f"{name}_odd")]
    low, high = TARGET[name]
    return " to ".join(f"{value:.1f}{'' if low <= value <= high else '*'}" for value in (min(values), max(values)))


def _row(world: World, seeds: int, cells: Sequence[dict[str, Any]]) -> list[object]:
    spread = f"{100 * world.spread:g}" + (f", one {100 * world.odd:g}" if world.odd != world.spread else "")
    power = [f"{cell['percent']['power']:.0f}" for cell in cells]
    ranges = [_range(cells, name) for name in TARGET]
    return [f"{100 * world.score:g}", spread if seeds > 1 else "–", seeds, *ranges, " / ".join(power)]


def main() -> None:
    """Simulate the grid, print the table, renew the docs."""
    arguments = parser(__doc__).parse_args()
    worlds, shapes, seeds, replications = (
        (WORLDS[1:2], SHAPES[1:3], SEEDS[:3], 200) if arguments.quick else (WORLDS, SHAPES, SEEDS, 20_000)
    )
    rows: list[list[object]] = []
    results = []
    for place, world in enumerate(worlds):
        for count in seeds:
            if count == 1 and world.score in {other.score for other in worlds[:place]}:
                continue  # with one seed nothing is asked of the spread
            cells = [simulate(world, shape, count, replications) for shape in shapes]
            results += cells
            rows.append(_row(world, count, cells))
    heads = ["score, %", "sd of seeds", "seeds", "score covered, %", "difference covered, %", "equal rejected, %"]
    text = (
        f"{replications:,} replications a cell; problems in groups: {'; '.join(map(str, shapes))}. Nominal: 95% "
        "covered, 5% rejected. Ranges are over these splits and, where one arm has another spread, over the arms; a "
        f"star marks what is outside 93 to 97% covered or 3 to 7% rejected. Power: {100 * GAIN:g} points more, found "
        "at 5%, split by split.\n\n"
    )
    publish(
        "coverage",
        "How often intervals and tests are right",
        text + table([*heads, "power, %"], rows),
        {"replications": replications, "cells": results},
        arguments,
        DOCS / "evaluation.md",
    )


if __name__ == "__main__":
    main()
