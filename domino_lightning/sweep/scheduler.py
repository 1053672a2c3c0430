"""Runs the graph of a sweep's distinct stages through a launcher, each once, and keeps the record of it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.store.store import Store
from domino_lightning.sweep.events import EVENTS, EventLog, SweepState, fold, read_events
from domino_lightning.sweep.exchange import settled
from domino_lightning.sweep.graph import Graph, StageId
from domino_lightning.sweep.launchers.base import Launcher, Report, Task
from domino_lightning.sweep.records import TrialRecords
from domino_lightning.sweep.spec import Sweep
from domino_lightning.tracking.wandb import sweep_tags
from domino_lightning.utils.jsonl import Record

LOOK_AGAIN_S = 0.5  # how often a stage that another process holds is looked at
DONE = {"finished", "failed", "blocked"}


@dataclass
class Progress:
    """What a display is told: after every event and about once a second."""

    sweep: Sweep
    graph: Graph
    state: SweepState
    tasks: Mapping[StageId, Task]
    slots: int
    started_at: dict[StageId, float] = field(default_factory=dict)  # monotonic


class Scheduler:
    """One run of a sweep.

    A stage starts when its inputs are finished and the launcher has room, stages of earlier trials first. One that
    another process holds is looked at twice a second and takes no slot meanwhile. When a stage fails, the trials
    that need it fail, and what only they need is not started.

    Args:
        sweep: the expanded file.
        graph: its distinct stages.
        launcher: where they run.
        retry_failed: start stages again that failed in an earlier run.
        show: called with the progress.
    """

    def __init__(
        self,
        sweep: Sweep,
        graph: Graph,
        launcher: Launcher,
        retry_failed: bool = False,
        show: Callable[[Progress, Record | None], None] = lambda progress, event: None,
    ) -> None:
        self.sweep, self.graph, self.launcher, self.retry_failed, self.show = (
            sweep, graph, launcher, retry_failed, show,
        )  # fmt: skip
        self.store = Store(sweep.root)
        self.log = EventLog(sweep.folder / EVENTS)
        self.records = TrialRecords(sweep, graph, self.store)
        events = read_events(sweep.folder / EVENTS)
        state = fold(events, graph.nodes, settled(graph.plans, self.store), running=False)
        for key in state.stages.values():
            if key.status == "interrupted" or (retry_failed and key.status == "failed"):
                key.status, key.error = "pending", ""
        self.progress = Progress(sweep, graph, state, self._tasks(), launcher.slots)
        self.ready_since: dict[StageId, float] = {}
        self.waited_s: dict[StageId, float] = {}
        self.looked_at: dict[StageId, float] = {}

    def _tasks(self) -> dict[StageId, Task]:
        tasks = {}
        arms = {trial.name: trial.arm for trial in self.sweep.trials}
        for (stage, digest), node in self.graph.nodes.items():
            tags = sweep_tags(self.sweep.name, [arms[name] for name in self.graph.trials((stage, digest))])
            where = {"group": self.sweep.name, "root": str(self.store.root), "tags": tags}
            tracking = Tracking(**node.config.document["tracking"], **where)
            log = self.sweep.folder / "logs" / f"{stage}-{digest}.log"
            tasks[stage, digest] = Task(node.planned, node.config, self.store, tracking, log)
        return tasks

    @property
    def states(self) -> Mapping[StageId, Any]:
        """The state of every distinct stage."""
        return self.progress.state.stages

    def failed(self) -> int:
        """How many stages failed in an earlier run and are not tried again."""
        return sum(state.status == "failed" for state in self.states.values())

    def run(self) -> bool:
        """Run what is not finished; whether every trial has finished.

        Raises:
            UserError: a stage that the launcher could never start.
            OSError: the record of the sweep cannot be written, for example on a full disk.
        """
        todo = [self.progress.tasks[key] for key, state in self.states.items() if state.status == "pending"]
        self.launcher.check(todo)
        status = "interrupted"
        self._tell(
            "launched",
            pid=os.getpid(),
            host=socket.gethostname(),
            trials=len(self.sweep.trials),
            stages=len(self.graph.nodes),
            slots=self.launcher.slots,
        )
        try:
            self._settle(list(self.graph.nodes))
            while not all(state.status in DONE for state in self.states.values()):
                self._start_what_is_ready()
                waiting = any(state.status == "waiting" for state in self.states.values())
                for report in self.launcher.poll(LOOK_AGAIN_S if waiting else 1.0):
                    self._take(report)
                self.show(self.progress, None)
            fine = all(state.status == "finished" for state in self.states.values())
            status = "finished" if fine else "failed"
        finally:
            self.launcher.stop()
            self._close(status)
        return fine

    def _close(self, status: str) -> None:
        if status == "interrupted":
            self.records.interrupt()
        self._tell("closed", status=status, launcher_cpu_s=round(time.process_time(), 2))
        self.log.close()

    def _tell(self, event: str, key: StageId | None = None, **fields: Any) -> None:
        where = {"stage": key[0], "fingerprint": key[1]} if key else {}
        self.show(self.progress, self.log.write(event, **where, **fields))

    def _start_what_is_ready(self) -> None:
        full: set[bool] = set()  # kinds of room, with and without devices: nothing overtakes an earlier stage
        for key, task in self.progress.tasks.items():
            state = self.states[key]
            if state.status not in {"pending", "waiting"} or not self._inputs_finished(key):
                continue
            now = time.monotonic()
            self.ready_since.setdefault(key, now)
            if state.status == "waiting" and now - self.looked_at[key] < LOOK_AGAIN_S:
                continue
            kind = task.devices > 0
            if kind in full:
                continue
            if self.store.finished(*key):
                self._finished(key, {"how": "elsewhere"})
                continue
            if self.store.busy(*key):
                self._wait(key)
                continue
            place = self.launcher.start(task)
            if place is None:
                full.add(kind)
                continue
            begun = time.monotonic()
            self.waited_s[key] = min(begun - self.ready_since[key], place.free_s)
            self.progress.started_at[key] = begun
            state.status, state.where = "running", place.where
            self.records.running(key)
            self._tell("started", key, where=place.where)

    def _inputs_finished(self, key: StageId) -> bool:
        return all(self.states[each].status == "finished" for each in self.graph.nodes[key].inputs)

    def _wait(self, key: StageId) -> None:
        self.looked_at[key] = time.monotonic()
        if self.states[key].status != "waiting":
            self.states[key].status = "waiting"
            self._tell("waiting", key)

    def _take(self, report: Report) -> None:
        key, event = report.task.planned.id, dict(report.event)
        name = event.pop("event")
        if name == "begun":
            self._tell("begun", key, startup_s=round(time.monotonic() - self.progress.started_at[key], 3))
        elif name == "busy":
            self._wait(key)
        elif name == "finished":
            ran = event.pop("ran")
            event |= {"how": "ran" if ran else "elsewhere", "waited_s": round(self.waited_s[key], 3)}
            self._finished(key, event)
        else:
            self.states[key].status, self.states[key].error = "failed", event["error"]
            self._tell("failed", key, **event)
            self._settle([key])

    def _finished(self, key: StageId, fields: Mapping[str, Any]) -> None:
        state = self.states[key]
        state.status, state.wall_s, state.rss_mb = "finished", fields.get("wall_s"), fields.get("rss_mb")
        self._tell("finished", key, **fields)
        self._settle([key])

    def _settle(self, stages: list[StageId]) -> None:
        """Bring up to date what depends on stages that have just ended: blocked stages, and trials."""
        failed = {key for key, state in self.states.items() if state.status in {"failed", "blocked"}}
        for key, node in self.graph.nodes.items():  # in order: inputs come before what reads them
            if self.states[key].status == "pending" and failed.intersection(node.inputs):
                failed.add(key)
                self.states[key].status = "blocked"
        alive = [plan for plan in self.graph.plans.values() if not failed.intersection(plan)]
        for key, state in self.states.items():
            if state.status == "pending" and not any(key in plan for plan in alive):
                state.status = "blocked"
        for trial, status, error in self.records.update(stages, self.states):
            fields: Record = {"error": error} if error else {}
            self._tell("trial", trial=trial, status=status, **fields)
