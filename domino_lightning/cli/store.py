"""domino ls, diff and gc."""

from __future__ import annotations

import argparse

from domino_lightning.cli.console import make_console
from domino_lightning.errors import UserError
from domino_lightning.results.diff import ABSENT, compare, read_side
from domino_lightning.results.garbage import delete, find_garbage, find_temporaries
from domino_lightning.results.runs import open_run
from domino_lightning.store.store import Store


def ls(arguments: argparse.Namespace) -> int:
    """A line per run: status, stages, pass@1."""
    from rich.table import Table

    from domino_lightning.reporting import find_trials

    table = Table(box=None, pad_edge=False)
    for name in ("run", "status", "pass@1", "accepted", "stages"):
        table.add_column(name, overflow="fold")
    told: list[str] = []
    for folder in find_trials([arguments.root]):
        try:
            opened = open_run(folder)
        except UserError as error:
            table.add_row(f"{folder.parent.name}/{folder.name}", "unreadable", "", "", "")
            told.append(str(error))
            continue
        metrics = opened.metrics
        told += opened.damage.values()
        score = metrics.get("evaluate/test/pass@1")
        accepted = metrics.get("curate/accepted/rows")
        table.add_row(
            f"{opened.trial['experiment']}/{opened.trial['trial']}",
            "damaged" if opened.damage else opened.status,
            "" if score is None else f"{score:.1%}",
            "" if accepted is None else f"{accepted:.0f}",
            " ".join(f"{stage}:{str(digest)[:6]}" for stage, digest in opened.trial["stages"].items()),
        )
    console = make_console()
    console.print(table)
    for text in dict.fromkeys(told):
        console.print(text, highlight=False, soft_wrap=True)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs between two trials or stages."""
    from rich.table import Table

    a, b, console = arguments.a, arguments.b, make_console()
    sides = read_side(a), read_side(b)
    found = compare(*sides)
    console.print(f"a  {a}\nb  {b}", highlight=False, soft_wrap=True)
    for side in sides:
        for text in side.damage:
            console.print(text, highlight=False, soft_wrap=True)
    tables: dict[str, list[tuple[str, ...]]] = {
        "key": [(key, str(one), str(other)) for key, one, other in found.keys],
        "stage": [(stage, one, "shared" if one == other else other) for stage, one, other in found.stages],
        "number": [
            (name, *(ABSENT if value is None else f"{value:.6g}" for value in (one, other)))
            for name, one, other in found.metrics
        ],
    }
    for title, rows in tables.items():
        table = Table(box=None, pad_edge=False)
        for name in (title, "a", "b"):
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table if rows else f"no {title} differs", highlight=False)
    return 0


def gc(arguments: argparse.Namespace) -> int:
    """List stages that nothing needs and what killed processes left half-written, or delete them."""
    from rich.table import Table

    store, deleting, console = Store(arguments.root), arguments.delete, make_console()
    garbage, temporaries = find_garbage(store), find_temporaries(store)
    left = sum(path.lstat().st_size for path in temporaries)
    gone = delete(store, garbage) if deleting else garbage
    if deleting:
        for path in temporaries:
            path.unlink(missing_ok=True)
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "fingerprint", "", "MB", "days"):
        table.add_column(name)
    for each in gone:
        state = "finished" if each.finished else "unfinished"
        table.add_row(each.stage, each.fingerprint, state, f"{each.bytes / 1e6:.1f}", f"{each.age_s / 86400:.1f}")
    if gone:
        console.print(table)
    size = f"{len(gone)} stages that no trial or sweep needs, {sum(each.bytes for each in gone) / 1e6:.1f} MB"
    if temporaries:
        size += f"; {len(temporaries)} temporary files of killed processes, {left / 1e6:.1f} MB"
    remedy = "; --delete removes them" if (gone or temporaries) and not deleting else ""
    console.print(f"{size}{', deleted' if deleting else remedy}", highlight=False)
    return 0
