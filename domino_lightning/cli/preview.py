"""domino preview."""

from __future__ import annotations

import argparse
from collections import Counter
from textwrap import indent
from typing import TYPE_CHECKING

from domino_lightning.cli.console import flag_layers, make_console
from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.runner.preview import Preview, PreviewRow, preview
from domino_lightning.utils.progress import duration

if TYPE_CHECKING:
    from rich.console import Console


def show(arguments: argparse.Namespace) -> int:
    """Sample, filter and answer a few rows, and show each with what became of it."""
    if arguments.rows < 1:
        raise UserError(f"--rows {arguments.rows} must be 1 or more.")
    config = load_config(arguments.experiment, arguments.overrides, flag_layers(arguments))
    console = make_console()

    def say(text: str = "") -> None:
        console.print(text, highlight=False, soft_wrap=True)

    found = preview(config, arguments.rows, arguments.again, announce=say)
    say()
    say(f"{config.document['name']} · {_source(found, str(config.document['synthesize']['generator']['class_path']))}")
    say()
    say("the first reference, as `tune` reads it")
    say(indent(found.reference.strip("\n"), "    "))
    for number, row in enumerate(found.rows, 1):
        say()
        say(f"{number}  {'a held-out text' if row.heldout else f'{row.tokens} tokens'} · {fate(row)}")
        say(indent(row.text.strip("\n"), "    ") or "    (no text)")
        if row.answer:
            say(f"  answer\n{indent(row.answer.strip(), '    ')}")
    say()
    _times(found, console)
    counts = Counter(_end(row) for row in found.rows if not row.heldout)
    say(f"{', '.join(f'{count} {end}' for end, count in counts.most_common())} · {found.directory}")
    if not found.ran:
        say("Nothing ran: it was there. --again runs it again; synthesize.seed=1, for example, shows other rows.")
    return 0


def _source(found: Preview, generator: str) -> str:
    """What the rows were sampled from."""
    rows = f"{sum(not row.heldout for row in found.rows)} rows"
    if found.bare:
        return (
            f"{rows} of the bare backbone: tune {found.tune} of this configuration has not finished. They show what "
            "sampling, filters and answers do, not what `tune` will have learned; held-out texts go the same way."
        )
    if found.tune:
        return f"{rows} of {generator}, from what tune {found.tune} has learned"
    return f"{rows} of {generator}, which reads nothing that `tune` learns"


def fate(row: PreviewRow) -> str:
    """What became of a row, with the reason."""
    screened = "" if row.screen == "ok" else f"screened out ({row.screen}) · "
    if not row.lost_in:
        return f"{screened}answered"
    return f"{screened}rejected by {row.lost_in}: {row.reason}" + (f" ({row.detail})" if row.detail else "")


def _end(row: PreviewRow) -> str:
    return f"lost in {row.lost_in} ({row.reason})" if row.lost_in else "answered"


def _times(found: Preview, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("stage", "time", "a row"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, seconds in found.seconds.items():
        each = "" if stage == "prepare" else duration(round(seconds / len(found.rows), 2))
        table.add_row(stage, duration(seconds), each)
    console.print(table, highlight=False)
    console.print("Times are with loading, and of one small block: `domino plan` estimates the run.", highlight=False)
