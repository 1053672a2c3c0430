"""Stages on a cluster: what is common to Slurm, Ray and others."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.store.store import read_manifest
from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task
from domino_lightning.sweep.launchers.cluster.engine import Engine, Setting
from domino_lightning.sweep.launchers.cluster.fleet import Fleet, Patience, Pilot
from domino_lightning.sweep.launchers.cluster.mailbox import ATTEMPTS, WORK, Attempt, Mailbox
from domino_lightning.sweep.launchers.cluster.pools import Pool, Pools, Shape
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.ranges import ONE_OR_MORE, ZERO_OR_MORE, check_ranges

log = logging.getLogger(__name__)

TICK_S = 0.25
STOP_S = 4.0  # for agents to end their stages


@dataclass
class _Run:
    """A task that was accepted: queued while it has no pilot.

    Attributes:
        pilot: to which the attempt is offered, or which has claimed it.
    """

    task: Task
    shape: Shape
    attempt: Attempt | None = None
    pilot: str = ""
    claimed: bool = False
    offset: int = 0  # of what was told
    losses: list[str] = field(default_factory=list)  # nodes
    stalls: int = 0  # attempts in a row that ran out of time without getting any further


class ClusterLauncher(Launcher):
    """Runs stages in pilots: jobs of a cluster that take one stage after another from a mailbox in the store.

    The store must lie on a file system that all nodes share. A stage that loses its node is tried again on another,
    from its last checkpoint; one whose time is over is continued by the next pilot. Neither is a failure.

    Args:
        pools: name → what a pilot asks for.
        stages: stage → pool, or a mapping of `pool` and its keys that differ for the stage; the rest goes to the first
            pool.
        idle: seconds without work after which a pilot ends.
        container: words before the interpreter on the nodes.
        setup: lines of shell before that.
        env: names of variables to pass on; their values are written down nowhere.
        python: interpreter on the nodes; by default this one's path.
        max_losses: a stage that has lost its node so often has failed.
        patience: how long silence is borne.
    """

    def __init__(
        self,
        pools: dict[str, Pool],
        stages: dict[str, str | dict[str, Any]] | None = None,
        idle: float = 120.0,
        container: list[str] | None = None,
        setup: list[str] | None = None,
        env: list[str] | None = None,
        python: str | None = None,
        max_losses: int = 3,
        patience: Patience | None = None,
    ) -> None:
        self.pools = Pools(pools, stages or {})
        self.slots = self.pools.pilots
        self.idle, self.max_losses, self.patience = idle, max_losses, patience or Patience()
        check_ranges("launcher.init_args", self, idle=ZERO_OR_MORE, max_losses=ONE_OR_MORE)
        self.setting = Setting(python or sys.executable, container or [], setup or [], env or [])
        self._runs: dict[tuple[str, str], _Run] = {}
        self._reports: list[Report] = []

    @abstractmethod
    def engine(self) -> Engine:
        """The cluster."""

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse a stage that no pool has room for."""
        self.pools.check(tasks)

    def open(self, folder: Path) -> None:
        """Find what an earlier launch left running."""
        self.mailbox = Mailbox(folder)
        prefix = "domino-" + re.sub(r"[^A-Za-z0-9]+", "-", folder.name)[:40].strip("-")
        self.fleet = Fleet(self.engine(), self.mailbox, self.patience, self.idle, prefix)

    def room(self, task: Task) -> object:
        """The pool: stages of one do not wait for room in another."""
        return self.pools.pool_of(task)

    def adopt(self, tasks: Sequence[Task]) -> list[tuple[Task, Place]]:
        """Take up what runs, or was about to."""
        folder = self.mailbox.folder / ATTEMPTS
        tried = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        adopted = []
        for task in tasks:
            stage, digest = task.planned.id
            if f"{stage}-{digest}" not in tried:
                continue
            attempts = self.mailbox.attempts(stage, digest)
            if not attempts or attempts[-1].end() is not None:
                continue
            run = self._accept(task, attempts)
            run.attempt = attempts[-1]
            self._look_for_claim(run)
            adopted.append((task, Place(run.pilot or f"{run.shape.name}: queued", 0.0)))
        return adopted

    def _accept(self, task: Task, attempts: Sequence[Attempt]) -> _Run:
        run = self._runs[task.planned.id] = _Run(task, self.pools.shape(task))
        for attempt in reversed(attempts):
            end = attempt.end() or {}
            if end.get("event") in {"failed", "finished"} or end.get("final"):
                break
            if end.get("event") == "lost":
                run.losses.insert(0, str(end.get("node", "")))
        return run

    def start(self, task: Task) -> Place | None:
        """Queue a stage, unless as many wait or run in its pool as it may have pilots."""
        name = self.pools.pool_of(task)
        if sum(run.shape.name == name for run in self._runs.values()) >= self.pools.pools[name].pilots:
            return None
        self._accept(task, self.mailbox.attempts(*task.planned.id))
        return Place(f"{name}: queued", 0.0)

    def poll(self, seconds: float) -> list[Report]:
        """What agents have told, and what their silence tells."""
        give_up = time.monotonic() + seconds
        while True:
            over = self.fleet.look()
            for run in list(self._runs.values()):
                self._read(run)
            for pilot in over:
                self._mourn(pilot)
            self._assign()
            self._ask()
            left = give_up - time.monotonic()
            if self._reports or left <= 0:
                reports, self._reports = self._reports, []
                return reports
            time.sleep(min(TICK_S, left))

    def _read(self, run: _Run) -> None:
        """What was told about a stage since the last look."""
        attempt = run.attempt
        if attempt is None:
            return
        self._look_for_claim(run)
        records, run.offset = attempt.reports(run.offset)
        for record in records:
            if record["event"] == "begun":
                pilot = self.fleet.pilots.get(run.pilot)
                where = f"{pilot.hosts} ({run.pilot})" if pilot else run.pilot
                self._reports.append(Report(run.task, {"event": "begun", "where": where}))
        end = attempt.end()
        if end is not None:
            self._end(run, attempt, end)

    def _look_for_claim(self, run: _Run) -> None:
        """Whose a stage is: not always the pilot's to which it was offered, if two launchers are at work."""
        claimer = run.attempt.claimed_by() if run.attempt and not run.claimed else ""
        if claimer:
            run.pilot, run.claimed = claimer, True

    def _end(self, run: _Run, attempt: Attempt, end: Record) -> None:
        pilot = self.fleet.pilots.get(run.pilot)
        event = end["event"]
        host = pilot.hosts if pilot else str(end.get("host", ""))
        if event == "finished":
            self._finish(run, end)
        elif event == "failed":
            self._fail(run, {key: end[key] for key in ("how", "error", "rss_mb") if key in end})
        elif event == "yielded":
            run.stalls = 0 if end.get("further") else run.stalls + 1
            self._reports.append(Report(run.task, {"event": "yielded", "attempt": attempt.number, "where": host}))
            if run.stalls >= self.max_losses:
                stage, name = run.task.planned.stage, run.shape.name
                self._fail(
                    run,
                    {"how": "error", "error": f"stage {stage}: {run.stalls} pilots in a row ran out of time before it "
                     f"got any further. Raise launcher.init_args.pools.{name}.time, or lower "
                     f"{stage}.runtime.checkpoint_every_n_steps or block_size."},
                )  # fmt: skip
            else:
                self._again(run)
        elif event == "lost":
            self._lose(run, attempt, pilot.suspect if pilot else host, str(end.get("error", "")))
        else:  # withdrawn, or stopped by another launcher
            self._again(run)

    def _again(self, run: _Run) -> None:
        run.attempt, run.pilot, run.claimed, run.offset = None, "", False, 0

    def _finish(self, run: _Run, end: Record) -> None:
        names = ("ran", "wall_s", "rss_mb")
        fields: dict[str, object] = {name: end[name] for name in names if name in end}
        self._reports.append(Report(run.task, {"event": "finished", "ran": True, "wall_s": None, **fields}))
        del self._runs[run.task.planned.id]
        for attempt in self.mailbox.attempts(*run.task.planned.id):  # one that was lost may live: it keeps its folder
            if (attempt.end() or {}).get("event") in {"yielded", "failed", "stopped"}:
                shutil.rmtree(attempt.path / WORK, ignore_errors=True)

    def _fail(self, run: _Run, fields: Record) -> None:
        self._reports.append(Report(run.task, {"event": "failed", **fields}))
        del self._runs[run.task.planned.id]

    def _lose(self, run: _Run, attempt: Attempt, node: str, why: str) -> None:
        """A stage's place is gone, and with it this attempt, unless it was published just before."""
        run.losses.append(node)
        final = len(run.losses) >= self.max_losses
        if (attempt.end() or {}).get("event") in {None, "lost"}:
            attempt.declare("lost", node=node, error=why, final=final)
        self._reports.append(
            Report(run.task, {"event": "lost", "attempt": attempt.number, "where": node, "error": why})
        )
        if final:
            nodes = ", ".join(dict.fromkeys(filter(None, run.losses))) or "unknown"
            error = f"stage {run.task.planned.stage} lost its place {len(run.losses)} times (nodes: {nodes}); {why}"
            self._fail(run, {"how": "lost", "error": f"{error}. --retry-failed continues it."})
        else:
            self._again(run)

    def _mourn(self, pilot: Pilot) -> None:
        """A pilot is over: what it was offered is taken back, and what it held is lost."""
        for run in [run for run in self._runs.values() if run.pilot == pilot.name]:
            attempt, task = run.attempt, run.task
            if attempt is None:
                continue
            if not run.claimed and attempt.withdraw():
                self._again(run)
                continue
            self._look_for_claim(run)
            if run.pilot != pilot.name:  # another's
                continue
            end = attempt.end()
            if end is not None:
                self._end(run, attempt, end)
            elif task.store.finished(*task.planned.id):
                manifest = read_manifest(task.store.path(*task.planned.id)) or {}
                attempt.declare("finished", ran=True, wall_s=manifest.get("wall_s"))
                self._finish(run, {"ran": True, "wall_s": manifest.get("wall_s")})
            else:
                self._lose(run, attempt, pilot.suspect, f"{pilot.name}: {pilot.why}")

    def _assign(self) -> None:
        """Offer what is queued to pilots that are free."""
        busy = {run.pilot for run in self._runs.values()}
        free: dict[str, list[Pilot]] = {}
        for pilot in self.fleet.pilots.values():
            if pilot.ready and pilot.name not in busy:
                free.setdefault(pilot.shape, []).append(pilot)
        for run in list(self._runs.values()):
            if run.pilot and run.attempt:
                if self.fleet.find(run.pilot) is None and run.attempt.end() is None:
                    self._lose(run, run.attempt, "", f"pilot {run.pilot} was over before this launch")
                continue
            avoid = set(run.losses)
            pilots = sorted(free.get(run.shape.key, []), key=lambda pilot: bool(avoid & set(pilot.hosts.split(","))))
            if run.attempt is None and run.task.store.finished(*run.task.planned.id):  # by another launcher
                self._finish(run, {"ran": False})
                continue
            if not pilots:
                continue
            run.attempt = run.attempt or self._attempt(run.task)
            self._look_for_claim(run)
            if not run.claimed:
                free[run.shape.key].remove(pilots[0])
                run.pilot = pilots[0].name
                self.mailbox.offer(run.attempt, run.pilot)

    def _attempt(self, task: Task) -> Attempt:
        """The attempt at a stage that has not ended, should there be one of another launcher's, else a new one."""
        attempts = self.mailbox.attempts(*task.planned.id)
        if attempts and attempts[-1].end() is None:
            return attempts[-1]
        return self.mailbox.open_attempt(task, attempts)

    def _ask(self) -> None:
        """Ask for as many pilots as there is work for."""
        for name, pool in self.pools.pools.items():
            alive = self.fleet.alive(name)
            busy = {run.pilot for run in self._runs.values()}
            queued = [run for run in self._runs.values() if run.shape.name == name and not run.pilot]
            for key in dict.fromkeys(run.shape.key for run in queued):
                waiting = [run for run in queued if run.shape.key == key]
                coming = [pilot for pilot in alive if pilot.shape == key and pilot.name not in busy]
                missing = len(waiting) - len(coming)
                for run in waiting[: max(0, min(missing, pool.pilots - len(alive)))]:
                    self.fleet.ask(run.shape, [node for node in run.losses if node])
                if missing > 0 and len(alive) >= pool.pilots:
                    others = {pilot.name for pilot in alive if pilot.shape != key} - busy
                    self.fleet.dismiss(others)
                alive = self.fleet.alive(name)

    def stop(self) -> None:
        """End all pilots; what has ended by the time is continued by the next launch, and so is the rest."""
        left = [run.attempt for run in self._runs.values() if run.attempt is not None and not run.attempt.withdraw()]
        claimed = [self.mailbox.attempts(*key)[-1] for key in self.mailbox.running() if key not in self._runs]
        self.fleet.end()
        give_up = time.monotonic() + STOP_S
        while time.monotonic() < give_up and any(attempt.end() is None for attempt in (*left, *claimed)):
            time.sleep(TICK_S)
        for attempt in (*left, *claimed):
            if attempt.end() is None:
                attempt.declare("stopped")
        self.fleet.engine.close()

    def detach(self) -> bool:
        """Leave everything running: the same command takes it up again."""
        self.fleet.engine.close()
        return True
