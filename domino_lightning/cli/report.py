"""domino report, dashboard and wandb-sync."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from domino_lightning.cli.console import make_console
from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from domino_lightning.reporting.corpus_map import Projection

WATCH_S = 15  # between pages of a sweep that is watched


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a sweep or of the given runs, and log it to W&B where they were logged."""
    from domino_lightning.reporting import find_trials, write_report
    from domino_lightning.results.runs import open_run
    from domino_lightning.sweep.results import is_sweep, open_sweep
    from domino_lightning.tracking.wandb import log_report

    paths, output, baseline = arguments.runs, arguments.output, arguments.baseline
    sweeps = [path for path in paths if is_sweep(path)]
    if sweeps and len(paths) > 1:
        raise UserError(f"report: {sweeps[0]} is a sweep, which has a report of its own. Name it alone.")
    if baseline and not sweeps:
        raise UserError("report: --baseline names an arm of a sweep, and these are runs. Leave it out.")
    if arguments.watch and not sweeps:
        raise UserError("report: --watch follows a sweep, and these are runs. Leave it out.")
    if sweeps:
        written = write_sweep(sweeps[0], output, baseline, arguments.watch, projection=arguments.map)
        sweep = open_sweep(sweeps[0])
        group, runs = sweep.name, sweep.runs()
    else:
        folders = find_trials(paths)
        written = list(write_report(folders, output or Path("report"), arguments.map))
        runs = []
        for folder in folders:
            with suppress(UserError):  # the report has said what cannot be read
                runs.append(open_run(folder))
                break
        group = str(runs[0].trial["experiment"]) if runs else ""
    console = make_console()
    for path in written:
        console.print(f"{path.stem:<8} {path}", highlight=False, soft_wrap=True)
    if runs and (tracking := runs[0].tracking(group)):
        log_report(tracking, written)
    return 0


def write_sweep(
    path: Path,
    output: Path | None,
    baseline: str | None,
    watch: bool,
    sleep: Callable[[float], None] = time.sleep,
    projection: Projection = "pca",
) -> list[Path]:
    """Write a sweep's report; while watching, again and again until every trial has ended, or a person ends it.

    A page of a sweep that goes on asks the browser to load it again; the last one does not.
    """
    from domino_lightning.reporting import write_sweep_report
    from domino_lightning.sweep.results import open_sweep

    sweep = open_sweep(path)
    folder = output or sweep.path / "report"
    try:
        while watch and sweep.goes_on():
            written = write_sweep_report(sweep, folder, baseline, WATCH_S, projection)
            make_console().print(f"{written[0]}: {sweep.ended()} of {len(sweep.record['trials'])} trials have ended")
            sleep(WATCH_S)
            sweep = open_sweep(path)
    except KeyboardInterrupt:
        write_sweep_report(sweep, folder, baseline, None, projection)
        raise
    return write_sweep_report(sweep, folder, baseline, None, projection)


def dashboard(arguments: argparse.Namespace) -> int:
    """Define a sweep's W&B workspace and report."""
    from domino_lightning.config.tracking import Tracking
    from domino_lightning.reporting.dashboard import write_dashboard
    from domino_lightning.sweep.results import open_sweep

    sweep = open_sweep(arguments.sweep)
    runs = sweep.runs()
    tracking = (runs[0].tracking(sweep.name) if runs else None) or Tracking(group=sweep.name)
    written = write_dashboard(sweep, tracking)
    console = make_console()
    for line in (*written.files, *written.urls):
        console.print(str(line), highlight=False, soft_wrap=True)
    if not written.urls:
        console.print("Kept here; with tracking.wandb=online and an API key they are saved in the project too.")
    return 0


def wandb_sync(arguments: argparse.Namespace) -> int:
    """Upload what was logged offline."""
    from domino_lightning.tracking.offline import sync

    uploaded, attached = sync(arguments.root)
    nothing = "" if uploaded or attached else " (nothing was left to do)"
    make_console().print(f"{uploaded} runs uploaded, {attached} artifacts linked to the runs that read them{nothing}")
    return 0
