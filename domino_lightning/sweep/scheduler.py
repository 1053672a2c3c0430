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
from domino_lightning.sweep.graph import Graph, StepId
from domino_lightning.sweep.launchers.base import Launcher, Report, Task
from domino_lightning.sweep.records import TrialRecords
from domino_lightning.sweep.spec import Sweep
from domino_lightning.utils.jsonl import Record

LOOK_AGAIN_S = 0.5  # how often a stage that another process holds is looked at
DONE = {"finished", "failed", "blocked"}


@dataclass
class Progress:
    """What a display is told: after every event and about once a second."""

    sweep: Sweep
    graph: Graph
    state: SweepState
    tasks: Mapping[StepId, Task]
    slots: int
    started_at: dict[StepId, float] = field(default_factory=dict)  # monotonic


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
        state = fold(events, graph.nodes, self.store.finished, running=False)
        for step in state.steps.values():
            if step.status == "interrupted" or (retry_failed and step.status == "failed"):
                step.status, step.error = "pending", ""
        self.progress = Progress(sweep, graph, state, self._tasks(), launcher.slots)
        self.ready_since: dict[StepId, float] = {}
        self.waited_s: dict[StepId, float] = {}
        self.looked_at: dict[StepId, float] = {}

    def _tasks(self) -> dict[StepId, Task]:
        tasks = {}
        for (stage, digest), node in self.graph.nodes.items():
            tracking = Tracking(**node.config.document["tracking"], group=self.sweep.name, root=str(self.store.root))
            log = self.sweep.folder / "logs" / f"{stage}-{digest}.log"
            tasks[stage, digest] = Task(node.step, node.config, self.store, tracking, log)
        return tasks

    @property
    def states(self) -> Mapping[StepId, Any]:
        """The state of every distinct stage."""
        return self.progress.state.steps

    def failed(self) -> int:
        """How many stages failed in an earlier run and are not tried again."""
        return sum(state.status == "failed" for state in self.states.values())

    def run(self) -> bool:
        """Run what is not finished; whether every trial has finished.

        Raises:
            UserError: a stage that the launcher could never start.
            OSError: the record of the sweep cannot be written, for example on a full disk.
        """
        todo = [self.progress.tasks[step] for step, state in self.states.items() if state.status == "pending"]
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

    def _tell(self, event: str, step: StepId | None = None, **fields: Any) -> None:
        where = {"stage": step[0], "fingerprint": step[1]} if step else {}
        self.show(self.progress, self.log.write(event, **where, **fields))

    def _start_what_is_ready(self) -> None:
        full: set[bool] = set()  # kinds of room, with and without devices: nothing overtakes an earlier stage
        for step, task in self.progress.tasks.items():
            state = self.states[step]
            if state.status not in {"pending", "waiting"} or not self._inputs_finished(step):
                continue
            now = time.monotonic()
            self.ready_since.setdefault(step, now)
            if state.status == "waiting" and now - self.looked_at[step] < LOOK_AGAIN_S:
                continue
            kind = task.devices > 0
            if kind in full:
                continue
            if self.store.finished(*step):
                self._finished(step, {"how": "elsewhere"})
                continue
            if self.store.busy(*step):
                self._wait(step)
                continue
            place = self.launcher.start(task)
            if place is None:
                full.add(kind)
                continue
            begun = time.monotonic()
            self.waited_s[step] = min(begun - self.ready_since[step], place.free_s)
            self.progress.started_at[step] = begun
            state.status, state.where = "running", place.where
            self.records.running(step)
            self._tell("started", step, where=place.where)

    def _inputs_finished(self, step: StepId) -> bool:
        return all(self.states[each].status == "finished" for each in self.graph.nodes[step].inputs)

    def _wait(self, step: StepId) -> None:
        self.looked_at[step] = time.monotonic()
        if self.states[step].status != "waiting":
            self.states[step].status = "waiting"
            self._tell("waiting", step)

    def _take(self, report: Report) -> None:
        step, event = report.task.step.id, dict(report.event)
        name = event.pop("event")
        if name == "begun":
            self._tell("begun", step, startup_s=round(time.monotonic() - self.progress.started_at[step], 3))
        elif name == "busy":
            self._wait(step)
        elif name == "finished":
            ran = event.pop("ran")
            event |= {"how": "ran" if ran else "elsewhere", "waited_s": round(self.waited_s[step], 3)}
            self._finished(step, event)
        else:
            self.states[step].status, self.states[step].error = "failed", event["error"]
            self._tell("failed", step, **event)
            self._settle([step])

    def _finished(self, step: StepId, fields: Mapping[str, Any]) -> None:
        state = self.states[step]
        state.status, state.wall_s, state.rss_mb = "finished", fields.get("wall_s"), fields.get("rss_mb")
        self._tell("finished", step, **fields)
        self._settle([step])

    def _settle(self, steps: list[StepId]) -> None:
        """Bring up to date what depends on steps that have just ended: blocked stages, and trials."""
        failed = {step for step, state in self.states.items() if state.status in {"failed", "blocked"}}
        for step, node in self.graph.nodes.items():  # in order: inputs come before what reads them
            if self.states[step].status == "pending" and failed.intersection(node.inputs):
                failed.add(step)
                self.states[step].status = "blocked"
        alive = [plan for plan in self.graph.plans.values() if not failed.intersection(plan)]
        for step, state in self.states.items():
            if state.status == "pending" and not any(step in plan for plan in alive):
                state.status = "blocked"
        for trial, status, error in self.records.update(steps, self.states):
            fields: Record = {"error": error} if error else {}
            self._tell("trial", trial=trial, status=status, **fields)
