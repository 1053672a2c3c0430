"""The agent: on every node of a pilot, it takes what is offered to the pilot and runs this node's ranks of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.runner.child import StageProcess, stop_all, wait_for_news
from domino_lightning.runner.job import PARENT
from domino_lightning.runner.process import die_with_parent
from domino_lightning.store.attempts import rename_is_exclusive, seed
from domino_lightning.sweep.launchers.cluster import ranks
from domino_lightning.sweep.launchers.cluster.mailbox import (
    BEAT,
    BYE,
    DRAIN,
    EXIT,
    HELLO,
    PILOT,
    STOP,
    TOKEN,
    WORK,
    Attempt,
    Mailbox,
    put,
    read_json,
)
from domino_lightning.utils.jsonl import Record, write_json
from domino_lightning.utils.yielding import YIELDED

TICK_S = 0.2
VISIBLE_S = 60.0  # what a file of another machine may take to be seen
PATIENCE_S = 10.0  # for the other ranks when one has fallen


class Agent:
    """One node of a pilot.

    Args:
        folder: the pilot's, in the mailbox.
        node: 0 leads.

    Raises:
        UserError: this is not the file system of the launcher, or not one that publication is safe on.
    """

    def __init__(self, folder: Path, node: int) -> None:
        self.folder, self.node = folder.resolve(), node
        self.started = time.monotonic()
        self.mailbox = Mailbox(self.folder.parents[1])
        token = self._token()
        record = read_json(self.folder / PILOT)
        if record is None:
            raise UserError(f"{self.folder / PILOT}: is not there, though its folder is. Cancel this pilot.")
        self.record = record
        self.pool: Record = record["pool"]
        self.own = self.folder / "nodes" / str(node)
        self.own.mkdir(parents=True)  # FileExistsError: this pilot ran before, and was queued again
        if not rename_is_exclusive(self.own):
            raise UserError(
                f"{self.folder}: on this file system a directory can be moved onto another one that is not empty, so "
                "two attempts at a stage could overwrite each other. Keep the store on another file system."
            )
        seconds = record["seconds"]
        self.ends = self.started + seconds - self.pool["grace"] if seconds else None
        self.draining = self.told = False
        self.beats, self.next_beat = 0, 0.0
        self.done: set[str] = set()
        write_json(
            self.own / HELLO,
            {"token": token, "host": socket.gethostname(), "node": os.environ.get("SLURMD_NODENAME", ""),
             "address": ranks.address(), "pid": os.getpid()},
        )  # fmt: skip

    def _token(self) -> str:
        give_up = time.monotonic() + VISIBLE_S
        while time.monotonic() < give_up:
            with contextlib.suppress(OSError):
                return (self.folder / TOKEN).read_text(encoding="utf-8")
            time.sleep(TICK_S)
        raise UserError(
            f"{self.folder}: the launcher's file '{TOKEN}' is not seen on {socket.gethostname()}. The store must lie "
            "on a file system that all nodes share, under the same path; mount it, also into the container."
        )

    def drain(self, *_: Any) -> None:
        """Have the stage save and end, and start no other; a signal's handler."""
        self.draining = True

    def run(self) -> None:
        """Until the time is over, or there has been nothing to do for long enough."""
        idle_since = time.monotonic()
        count = 0
        while not self._over(idle_since, count):
            if self._lead() if self.node == 0 else self._follow():
                idle_since = time.monotonic()
                count += 1
            else:
                time.sleep(TICK_S)
        write_json(self.own / BYE, {"stages": count, "draining": self.draining})
        if self.node == 0:
            write_json(self.folder / BYE, {"stages": count})

    def _over(self, idle_since: float, count: int) -> bool:
        self._tick()
        if self.draining or self._stopped():
            return True
        if self.node > 0:
            return (self.folder / BYE).exists()
        most = self.pool["max_stages"]
        return (most is not None and count >= most) or time.monotonic() - idle_since > self.record["idle"]

    def _stopped(self) -> bool:
        return (self.folder / STOP).exists()

    def _tick(self) -> None:
        """Show that this node lives, and look at what was asked of it."""
        now = time.monotonic()
        if now >= self.next_beat:
            self.beats += 1
            self.next_beat = now + self.record["beat_s"]
            (self.own / BEAT).write_text(str(self.beats), encoding="ascii")
        if self.ends is not None and now > self.ends:
            self.draining = True
        if self.draining and not self.told:
            self.told = True
            put(self.folder / DRAIN)
        elif not self.draining and (self.folder / DRAIN).exists():
            self.draining = self.told = True

    def _lead(self) -> bool:
        """Run an attempt that is offered; whether there was one."""
        pilot = self.folder.name
        for offer, attempt in self.mailbox.offers(pilot):
            mine = attempt.claim(pilot)
            offer.unlink(missing_ok=True)
            if mine:
                sys.stderr.write(f"runs {attempt.name}\n")
                end = self._attempt(attempt)
                attempt.declare(**end)
                if end["event"] == "finished" and not end.get("ran"):
                    shutil.rmtree(attempt.path / WORK, ignore_errors=True)
                sys.stderr.write(f"{attempt.name}: {end['event']}\n")
                return True
        return False

    def _attempt(self, attempt: Attempt) -> dict[str, Any]:
        task, work = read_json(attempt.path / "task.json"), attempt.path / WORK
        if task is None:
            return {"event": "lost", "error": f"{attempt.path} cannot be read"}
        seed(work, [Path(each) for each in task["seeds"]])
        before = _progress(work)
        joint = {
            "attempt": str(attempt.path),
            "id": attempt.name,
            "nodes": task["nodes"],
            "ranks": task["ranks"],
            "address": self._meeting(task["nodes"]),
            "port": ranks.free_port(),
            "files": ranks.files(work),
        }
        if task["nodes"] > 1:
            (self.folder / "joint").mkdir(exist_ok=True)
            write_json(self.folder / "joint" / f"{attempt.name}.json", joint)
        children = ranks.start(attempt, joint, 0, self.pool["cpus"], self.pool["gpus"])
        attempt.report({"event": "started", "host": socket.gethostname(), "node": self.folder.name})
        others = range(1, task["nodes"])
        self._watch(attempt, children, others)
        end = ranks.ended(children)
        end = self._why(attempt, children, others, end)
        if end["event"] == "yielded":
            end["further"] = _progress(work) != before
        return end | {"host": socket.gethostname()}

    def _meeting(self, nodes: int) -> str:
        if nodes == 1:
            return "127.0.0.1"
        hosts = set()
        give_up = time.monotonic() + VISIBLE_S
        for node in range(nodes):
            while (hello := read_json(self.folder / "nodes" / str(node) / HELLO)) is None:
                if time.monotonic() > give_up or self._stopped():
                    break
                self._tick()
                time.sleep(TICK_S)
            hosts.add(hello["host"] if hello else "?")
        return "127.0.0.1" if len(hosts) == 1 else ranks.address()

    def _watch(self, attempt: Attempt, children: Sequence[StageProcess], others: Sequence[int]) -> None:
        """Stay until the first rank has ended, and with it this node's others."""
        give_up = asked = None
        while True:
            wait_for_news(children, TICK_S)
            self._tick()
            over = []
            for number, child in enumerate(children):
                messages, gone = child.poll()
                over.append(gone)
                for message in messages if self.node == 0 and number == 0 else ():
                    if message["event"] == "begun":
                        attempt.report(message)
            now = time.monotonic()
            if self._stopped():
                stop_all(children)
                return
            if self.draining and asked is None:
                asked = now
                for child in children:
                    child.interrupt(signal.SIGUSR2)
            first_over = over[0] if self.node == 0 else (attempt.path / EXIT).exists()
            if all(over) and (self.node > 0 or first_over):
                return
            fell = first_over or ranks.fallen(children) or any(_fell(attempt, node) for node in others)
            if give_up is None and fell:
                give_up = now + PATIENCE_S
            late = asked is not None and now > asked + self.pool["grace"]
            if late or (give_up is not None and now > give_up):
                stop_all(children)
                return

    def _why(
        self, attempt: Attempt, children: Sequence[StageProcess], others: Sequence[int], end: dict[str, Any]
    ) -> dict[str, Any]:
        """The end of an attempt: what a rank of this node or another fell of, unless its place was taken."""
        own_words = any(message["event"] == "failed" for message in children[0].received)
        if end["event"] != "failed" or (own_words and not end.get("peer")):
            return end
        if self._stopped():
            return {"event": "stopped"}
        give_up = time.monotonic() + PATIENCE_S
        while others and time.monotonic() < give_up and not all(_exit(attempt, node) for node in others):
            self._tick()
            time.sleep(TICK_S)
        missing = [node for node in others if not _exit(attempt, node)]
        if missing:
            return {"event": "lost", "error": f"node {missing[0]} of {self.folder.name} is gone"}
        if self.draining:
            return {"event": "yielded"}
        words = ranks.killed(children, 0) or next(
            (each["error"] for node in others if (each := _exit(attempt, node)) and each["error"]), ""
        )
        return {**end, "how": "signal", "error": words} if words else end

    def _follow(self) -> bool:
        """Run this node's ranks of an attempt that the first node leads; whether there was one."""
        for path in sorted((self.folder / "joint").glob("[!.]*.json")):
            joint = read_json(path)
            if path.name in self.done or joint is None:
                continue
            self.done.add(path.name)
            attempt = Attempt(Path(joint["attempt"]))
            if (attempt.path / EXIT).exists():
                continue
            error = ""
            codes: list[int] = []
            if not ranks.wait_visible(attempt.path / WORK, joint["files"], VISIBLE_S):
                error = f"{socket.gethostname()} does not see the files of {attempt.path} as the first node wrote them"
            else:
                children = ranks.start(attempt, joint, self.node, self.pool["cpus"], self.pool["gpus"])
                self._watch(attempt, children, ())
                error = ranks.killed(children, self.node * int(joint["ranks"]))
                codes = [child.process.returncode for child in children]
            write_json(attempt.path / f"exit.{self.node}.json", {"codes": codes, "error": error})
            return True
        return False


def _exit(attempt: Attempt, node: int) -> Record | None:
    return read_json(attempt.path / f"exit.{node}.json")


def _fell(attempt: Attempt, node: int) -> bool:
    end = _exit(attempt, node)
    return bool(end and (end["error"] or any(code not in (0, YIELDED) for code in end["codes"])))


def _progress(work: Path) -> set[tuple[str, int, int]]:
    """What there is to continue from, to tell whether an attempt got any further."""
    found = [*work.rglob("*.ckpt"), *work.rglob("*-[0-9][0-9][0-9][0-9][0-9].jsonl")]
    return {(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def main(folder: Path, node: int | None) -> int:
    """Run an agent until its pilot is over.

    Raises:
        UserError: the file system is not the launcher's, or not safe.
    """
    if os.environ.get(PARENT) == str(os.getppid()):
        die_with_parent()
    if node is None:
        node = int(os.environ.get("SLURM_NODEID") or 0)
    try:
        agent = Agent(folder, node)
    except FileExistsError:
        sys.stderr.write(f"{folder.name} ran before, and the cluster has queued it again: nothing to do.\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, agent.drain)
    os.chdir(agent.record["cwd"])
    sys.stderr.write(f"agent {agent.node} of {folder.name} on {socket.gethostname()}\n")
    agent.run()
    return 0
