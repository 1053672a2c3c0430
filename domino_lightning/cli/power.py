"""`domino power`: from a pilot sweep, how many seeds and problems an arm needs for a difference to be seen."""

from __future__ import annotations

import argparse

from domino_lightning.cli.console import make_console
from domino_lightning.errors import UserError


def show(arguments: argparse.Namespace) -> int:
    """Print the pilot's variances, what its size can see, and the seeds needed at several numbers of problems."""
    from rich.table import Table

    from domino_lightning.reporting.sweep.arms import read_sweep
    from domino_lightning.reporting.sweep.needed import HEADINGS, needed
    from domino_lightning.sweep.results import open_sweep

    points, wanted = arguments.points, arguments.power
    if not 0 < points <= 100:
        raise UserError(f"--points {points:g} must be more than 0 and at most 100.")
    if not 0.05 < wanted < 1:
        raise UserError(f"--power {wanted:g} must be between 0.05 and 1, such as 0.8.")
    found = needed(read_sweep(open_sweep(arguments.sweep), arguments.baseline), points, wanted)
    console = make_console()
    for text in (found.pilot, found.sizes, found.seen):
        console.print(text, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in HEADINGS:
        table.add_column(name, justify="right")
    for row in found.rows:
        table.add_row(*row)
    console.print(table)
    console.print(found.caveat, highlight=False, soft_wrap=True)
    return 0
