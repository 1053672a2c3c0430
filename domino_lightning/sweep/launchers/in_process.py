"""Every stage in this process, one after the other: for smoke runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from domino_lightning.errors import Busy
from domino_lightning.runner.planned import run_planned
from domino_lightning.runner.process import explain
from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task, refuse_nodes


class InProcessLauncher(Launcher):
    """Runs one stage after the other in this process: for smoke runs, tests and debuggers."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._free_since = time.monotonic()

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse a stage on several machines."""
        refuse_nodes(tasks, "the InProcessLauncher")

    def start(self, task: Task) -> Place | None:
        """Run the stage to its end, unless that of another one is still to be told."""
        if self._reports:
            return None
        place = Place("this process", time.monotonic() - self._free_since)
        try:
            outcome = run_planned(task.config, task.store, task.planned, task.tracking, wait=False)
            event = {"event": "finished", "ran": outcome.ran, "wall_s": outcome.wall_s}
        except Busy:
            event = {"event": "busy"}
        except (Exception, SystemExit) as error:
            how, message = explain(error, task.store.path(*task.planned.id))
            event = {"event": "failed", "how": how, "error": message}
        self._reports.append(Report(task, event))
        self._free_since = time.monotonic()
        return place

    def poll(self, seconds: float) -> list[Report]:
        """How the stages started since the last call ended."""
        reports, self._reports = self._reports, []
        return reports

    def stop(self) -> None:
        """Nothing runs between two calls."""
        return
