"""`domino power`: from a pilot sweep, how many seeds and problems an arm needs for a difference to be seen."""

from __future__ import annotations

import argparse
from math import sqrt

from domino_lightning.cli.console import make_console
from domino_lightning.errors import UserError
from domino_lightning.evaluation.power import MOST_SEEDS, power, seeds_needed, smallest_gain, variances

TIMES = (1, 2, 3, 5, 10)


def show(arguments: argparse.Namespace) -> int:
    """Print the pilot's variances, what its size can see, and the seeds needed at several numbers of problems."""
    from rich.table import Table

    from domino_lightning.reporting.sweep.arms import read_sweep
    from domino_lightning.reporting.sweep.estimates import difference_components
    from domino_lightning.sweep.results import open_sweep

    points, wanted = arguments.points, arguments.power
    if not 0 < points <= 100:
        raise UserError(f"--points {points:g} must be more than 0 and at most 100.")
    if not 0.05 < wanted < 1:
        raise UserError(f"--power {wanted:g} must be between 0.05 and 1, such as 0.8.")
    sweep = open_sweep(arguments.sweep)
    data = read_sweep(sweep, arguments.baseline)
    rows = difference_components(data.arms, data.baseline)
    tables = [row for row in rows if row is not None and not isinstance(row, str)]
    try:
        found = variances([one for _, one in tables])
    except UserError as error:
        raise UserError(f"{sweep.path}: {error}") from None
    pairs, pilot = max(tables, key=lambda row: row[1].seeds)
    problems, groups, seeds = len(pairs[0][0]), pilot.groups, pilot.seeds
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    say(
        f"pilot: {len(tables)} arms against {data.baseline.label}, up to {seeds} seeds, {problems} problems in "
        f"{groups} groups"
    )
    sizes = [100 * sqrt(value) for value in (found.seeds, found.most_seeds, found.groups, found.rest)]
    say(
        "standard deviations of a difference, in points: {:.1f} between seeds (with {} degrees of freedom up to "
        "{:.1f}), {:.1f} between groups, {:.1f} the rest of a seed on a group".format(
            sizes[0], found.freedom, *sizes[1:]
        )
    )
    least = smallest_gain(found, seeds, groups, wanted)
    say(
        f"at the pilot's size {points:g} points are found by {power(found, points / 100, seeds, groups):.0%}; "
        + (f"{wanted:.0%} takes {100 * least:.1f} points" if least else f"no difference is found by {wanted:.0%}")
    )
    table = Table(box=None, pad_edge=False)
    for name in ("problems", "groups", "seeds an arm", "if seeds vary most", f"points seen by {MOST_SEEDS} seeds"):
        table.add_column(name, justify="right")
    worst = type(found)(found.most_seeds, found.groups, found.rest, found.freedom, found.uncertain)
    for times in TIMES:
        needed = [seeds_needed(one, points / 100, times * groups, wanted) for one in (found, worst)]
        cells = [str(count) if count else f"over {MOST_SEEDS}" for count in needed]
        floor = smallest_gain(found, MOST_SEEDS, times * groups, wanted)
        cells.append(f"{100 * floor:.1f}" if floor else "–")
        table.add_row(str(times * problems), str(times * groups), *cells)
    console.print(table)
    say(
        f"for {points:g} points with {wanted:.0%} power at 5%, one comparison (Holm's correction for several asks for "
        "more); problems like the pilot's, in groups like its groups"
    )
    return 0
