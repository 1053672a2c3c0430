"""What runs a sweep's stages: the interface, and the plainest implementation, this very process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from domino_lightning.config.document import Config
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.runner.planned import PlannedStage
from domino_lightning.stages import stage_class
from domino_lightning.store.store import Store
from domino_lightning.utils.contract import Contract


@dataclass(frozen=True)
class Task:
    """One stage to run.

    Attributes:
        log: where its output goes.
    """

    planned: PlannedStage
    config: Config
    store: Store
    tracking: Tracking
    log: Path

    @property
    def devices(self) -> int:
        """Accelerators that the stage uses where there are any; 0 for one that computes on the CPU alone."""
        return stage_class(self.planned.stage).devices(self.planned.section)

    @property
    def processes(self) -> int:
        """Processes that compute at the same time on a machine: the ranks of a DDP run."""
        return stage_class(self.planned.stage).processes(self.planned.section)

    @property
    def nodes(self) -> int:
        """Machines that the stage runs on at the same time."""
        return stage_class(self.planned.stage).nodes(self.planned.section)


class Place(NamedTuple):
    """Where a task runs, in words, and for how long that place had been free."""

    where: str
    free_s: float


class Report(NamedTuple):
    """News of a task: `event` is `begun`, or `finished`, `failed` or `busy`, after which it is over.

    `finished` has `ran` and `wall_s`; `failed` has `how` (error, input, memory, signal, interrupted, lost) and `error`.
    On a cluster `lost` and `yielded` tell that an attempt ended without its fault and another will follow.
    """

    task: Task
    event: dict[str, Any]


class Launcher(Contract, ABC, more="docs/sweeps.md says what a launcher gives."):
    """Starts stages and tells how they end; it knows nothing of trials. Named by `class_path` in a sweep.

    A stage locks, continues, checks and finishes itself (`domino_lightning.runner.planned.run_planned`, or in a process
    `python -m domino_lightning.runner.process JOB`), so a launcher only has to start it where there is room.
    """

    slots: int = 1  # stages that can run at the same time

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse tasks that could never be started, before anything runs.

        Raises:
            UserError: a task that needs more than there is.
        """
        return

    def open(self, folder: Path) -> None:
        """Get ready to run the sweep of a folder; called once, before `adopt`."""
        return

    def room(self, task: Task) -> object:
        """A kind of room: once a task finds none, later ones of the same kind do not overtake it."""
        return task.devices > 0

    def adopt(self, tasks: Sequence[Task]) -> list[tuple[Task, Place]]:
        """Take up those of the tasks that an earlier launch left running, where that is possible."""
        return []

    @abstractmethod
    def start(self, task: Task) -> Place | None:
        """Start a task; None while there is no room for it."""

    @abstractmethod
    def poll(self, seconds: float) -> list[Report]:
        """News since the last call; returns at once when there is some, else after so many seconds."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that still runs, within five seconds."""

    def detach(self) -> bool:
        """Leave everything running, for the same command to take up again; whether that is possible."""
        return False


class Detached(KeyboardInterrupt):
    """The terminal or session of the sweep is gone: where stages can go on without it, they do."""


def refuse_nodes(tasks: Sequence[Task], where: str) -> None:
    """Refuse stages on several machines, for launchers that have one.

    Raises:
        UserError: the first one.
    """
    for task in tasks:
        if task.nodes > 1:
            stage = task.planned.stage
            raise UserError(
                f"{stage}.trainer.num_nodes: {task.nodes} machines, and {where} has this one. Set {stage}.trainer."
                "num_nodes=1, or run it in a sweep with a SlurmLauncher or RayLauncher."
            )
