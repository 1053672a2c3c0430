"""Runs the graph of a sweep's distinct stages through a launcher, each once, and keeps the record of it."""

from __future__ import annotations

import heapq
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.store.store import Store
from domino_lightning.sweep.events import EVENTS, EventLog, SweepState, fold, log_file, read_events, retry
from domino_lightning.sweep.exchange import settled
from domino_lightning.sweep.graph import Graph, StageId
from domino_lightning.sweep.launchers.base import Detached, Launcher, Place, Report, Task
from domino_lightning.sweep.records import TrialRecords
from domino_lightning.sweep.spec import Sweep
from domino_lightning.tracking.wandb import sweep_tags
from domino_lightning.utils.jsonl import Record

CANCEL = "cancel"  # in the sweep's folder: end, as Ctrl-C does
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
    finished: int = 0
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
            if key.status == "interrupted":
                key.status, key.error = "pending", ""
        if retry_failed:
            retry(state)
        finished = sum(known.status == "finished" for known in state.stages.values())
        self.progress = Progress(sweep, graph, state, self._tasks(), launcher.slots, finished)
        self.ready_since: dict[StageId, float] = {}
        self.waited_s: dict[StageId, float] = {}
        self.looked_at: dict[StageId, float] = {}  # of those that another process holds
        self.open = {key for key, known in self.states.items() if known.status not in DONE}
        self.missing = {key: len(node.inputs) for key, node in graph.nodes.items()}  # inputs that are not finished
        self.alive = {key: len(graph.trials(key)) for key in graph.nodes}  # trials that may yet finish
        self.dead: set[str] = set()  # the others
        self.order = {key: number for number, key in enumerate(graph.nodes)}
        self.keys = list(graph.nodes)
        self.ready: dict[object, list[int]] = {}  # by kind of room, a heap in order of nodes

    def _tasks(self) -> dict[StageId, Task]:
        tasks = {}
        arms = {trial.name: trial.arm for trial in self.sweep.trials}
        for (stage, digest), node in self.graph.nodes.items():
            tags = sweep_tags(self.sweep.name, [arms[name] for name in self.graph.trials((stage, digest))])
            given, root = node.config.document["tracking"], str(self.store.root)
            tracking = Tracking(**given, group=self.sweep.name, root=root, tags=tags)
            log = log_file(self.sweep.folder, stage, digest)
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
        self.launcher.open(self.sweep.folder)
        status = "interrupted"
        again: Record = {"retry_failed": True} if self.retry_failed else {}
        self._tell(
            "launched",
            pid=os.getpid(),
            host=socket.gethostname(),
            trials=len(self.sweep.trials),
            stages=len(self.graph.nodes),
            slots=self.launcher.slots,
            **again,
        )
        try:
            self._settle(self.keys)
            for task, place in self.launcher.adopt([self.progress.tasks[key] for key in self.keys if key in self.open]):
                self._started(task.planned.id, place, 0.0)
            while self.open:
                self._start_what_is_ready()
                for report in self.launcher.poll(LOOK_AGAIN_S if self.looked_at else 1.0):
                    self._take(report)
                self.show(self.progress, None)
                if (self.sweep.folder / CANCEL).exists():
                    raise KeyboardInterrupt
            fine = all(state.status == "finished" for state in self.states.values())
            status = "finished" if fine else "failed"
        except Detached:
            status = "detached" if self.launcher.detach() else "interrupted"
            raise
        finally:
            if status != "detached":
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

    def _offer(self, key: StageId) -> None:
        """Note that a stage can be started."""
        self.ready_since.setdefault(key, time.monotonic())
        room = self.launcher.room(self.progress.tasks[key])
        heapq.heappush(self.ready.setdefault(room, []), self.order[key])

    def _start_what_is_ready(self) -> None:
        """Start stages in order while there is room; nothing overtakes an earlier stage of its kind of room."""
        now = time.monotonic()
        for key in [key for key, at in self.looked_at.items() if now - at >= LOOK_AGAIN_S]:
            del self.looked_at[key]
            self._offer(key)
        full: set[object] = set()
        while rooms := [room for room, heap in self.ready.items() if heap and room not in full]:
            room = min(rooms, key=lambda room: self.ready[room][0])
            key = self.keys[self.ready[room][0]]
            if self.states[key].status not in {"pending", "waiting"}:  # blocked, or taken up from an earlier launch
                heapq.heappop(self.ready[room])
            elif self.store.finished(*key):
                heapq.heappop(self.ready[room])
                self._finished(key, {"how": "elsewhere"})
            elif self.store.busy(*key):
                heapq.heappop(self.ready[room])
                self._wait(key)
            elif (place := self.launcher.start(self.progress.tasks[key])) is None:
                full.add(room)
            else:
                heapq.heappop(self.ready[room])
                self._started(key, place, min(time.monotonic() - self.ready_since[key], place.free_s))

    def _started(self, key: StageId, place: Place, waited_s: float) -> None:
        self.waited_s[key] = waited_s
        self.progress.started_at[key] = time.monotonic()
        self.states[key].status, self.states[key].where = "running", place.where
        self.records.running(key)
        self._tell("started", key, where=place.where)

    def _wait(self, key: StageId) -> None:
        self.looked_at[key] = time.monotonic()
        if self.states[key].status != "waiting":
            self.states[key].status = "waiting"
            self._tell("waiting", key)

    def _take(self, report: Report) -> None:
        key, event = report.task.planned.id, dict(report.event)
        name = event.pop("event")
        if name == "begun":
            self.states[key].where = event.get("where", self.states[key].where)
            self._tell("begun", key, startup_s=round(time.monotonic() - self.progress.started_at[key], 3), **event)
        elif name in {"lost", "yielded"}:  # another attempt follows
            self._tell(name, key, **event)
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
        self.progress.finished += key in self.open
        self._tell("finished", key, **fields)
        self._settle([key])

    def _settle(self, stages: Sequence[StageId]) -> None:
        """Bring up to date what depends on stages that have just ended: blocked stages, what is ready, and trials."""
        fallen = []
        for key in stages:
            status = self.states[key].status
            if status in DONE:
                self.open.discard(key)
            if status == "finished":
                for reader in self.graph.readers[key]:
                    self.missing[reader] -= 1
                    if self.missing[reader] == 0 and self.states[reader].status == "pending":
                        self._offer(reader)
            elif status == "failed":
                fallen.append(key)
            elif status == "pending" and not self.graph.nodes[key].inputs:
                self._offer(key)
        while fallen:
            fallen += self._block(fallen.pop())
        for trial, status, error in self.records.update(stages, self.states):
            fields: Record = {"error": error} if error else {}
            self._tell("trial", trial=trial, status=status, **fields)

    def _block(self, key: StageId) -> list[StageId]:
        """What a fallen stage takes along: its readers, which are returned, and what only its trials need."""
        for trial in self.graph.trials(key):
            if trial not in self.dead:
                self.dead.add(trial)
                for each in self.graph.plans[trial]:
                    self.alive[each] -= 1
                    if self.alive[each] == 0 and self.states[each].status == "pending":
                        self._blocked(each)
        readers = [reader for reader in self.graph.readers[key] if self.states[reader].status == "pending"]
        for reader in readers:
            self._blocked(reader)
        return readers

    def _blocked(self, key: StageId) -> None:
        self.states[key].status = "blocked"
        self.open.discard(key)
