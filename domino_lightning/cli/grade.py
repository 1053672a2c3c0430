"""domino grade."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

from domino_lightning.cli.console import make_console


def grade(arguments: argparse.Namespace) -> int:
    """Grade a solutions file and say what came of it."""
    from domino_lightning.evaluation.grade import grade_files
    from domino_lightning.execution.unit_test import GRADING, Rules
    from domino_lightning.utils.progress import progress_bar

    started = time.monotonic()
    limits = replace(GRADING, timeout_s=arguments.timeout_s, memory_mb=arguments.memory_mb)
    rules = Rules(limits, arguments.tier, arguments.compat)
    workers = arguments.workers if arguments.workers is not None else _cores()
    with progress_bar(desc="grade", unit="program") as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.initial = total, bar.initial if bar.n else done
            bar.update(done - bar.n)

        found = grade_files(
            arguments.problems,
            arguments.solutions,
            arguments.output,
            rules,
            workers,
            arguments.skip_bad_lines,
            progress,
        )
    seconds = time.monotonic() - started
    console = make_console()
    console.print(f"{found.passed} of {found.programs} programs passed · {arguments.output}", highlight=False)
    counts = ", ".join(f"{count} {status}" for status, count in found.statuses.most_common())
    rate = f" · {found.graded / seconds:.1f} programs/s" if found.graded else ""
    lenient = " · compat lcb" if rules.compat else ""
    shared = f" · {found.shared} shared a process with their tests" if found.shared else ""
    console.print(f"{counts} · tier {found.tier}{lenient}{shared}{rate}", highlight=False)
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
