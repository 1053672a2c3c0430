"""Clusters for tests: one whose agents are acted out in this process, and one whose agents are processes here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_lightning.store.attempts import publish
from domino_lightning.store.store import MANIFEST, Store
from domino_lightning.sweep import ClusterLauncher, Pool
from domino_lightning.sweep.launchers.cluster.engine import Engine, NoAnswer, Refused, State
from domino_lightning.sweep.launchers.cluster.fleet import Patience
from domino_lightning.sweep.launchers.cluster.mailbox import BYE, DRAIN, STOP, WORK, Attempt, Mailbox, read_json
from domino_lightning.utils.jsonl import write_json

AT_ONCE = Patience(look_s=0.0, beat_s=0.01, lease_s=0.0, lost_s=0.05, start_s=0.0)


class Acted(Engine):
    """A cluster whose agents act once at every look, in this process.

    Args:
        root: the store.
        script: stage → what its attempts do, one after another; then they finish. `lose`: the node dies, `silent`: so
            it does and the cluster does not notice, `yield`, `stall`: time is over, with and without progress, `fail`,
            `hang`: nothing until it is changed.
    """

    name = "the acted cluster"

    def __init__(self, root: Path, script: dict[str, list[str]] | None = None) -> None:
        self.store, self.script = Store(root), script or {}
        self.pilots: dict[str, Path] = {}
        self.phases: dict[str, State] = {}
        self.held: dict[str, Attempt] = {}
        self.calls: list[str] = []
        self.avoided: list[Sequence[str]] = []
        self.away = False
        self.refuses = ""
        self.submits_yet_refuses = False
        self.begins = True
        self.ran: list[str] = []

    def submit(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        self.calls.append("submit")
        self.avoided.append(avoid)
        if self.away:
            raise NoAnswer("no answer")
        if self.refuses and not self.submits_yet_refuses:
            raise Refused(self.refuses)
        self.pilots[name] = mailbox
        self.phases[name] = State("running", "it runs")
        if self.refuses:
            raise Refused(self.refuses)

    def states(self) -> dict[str, State]:
        self.calls.append("states")
        if self.away:
            raise NoAnswer("no answer")
        for name in list(self.pilots):
            if self.phases[name].phase == "running":
                self.act(name)
        return dict(self.phases)

    def cancel(self, names: Sequence[str]) -> None:
        self.calls.append("cancel")
        for name in names:
            self.over(name, "cancelled")

    def over(self, name: str, words: str) -> None:
        if name in self.phases:
            self.phases[name] = State("over", words)

    def act(self, name: str) -> None:
        folder = self.pilots[name]
        record = read_json(folder / "pilot.json") or {}
        if not self.begins:
            self.over(name, "it could not begin")
            return
        for node in range(record["pool"]["nodes"]):
            own = folder / "nodes" / str(node)
            own.mkdir(parents=True, exist_ok=True)
            if not (own / "hello.json").exists():
                number = list(self.phases).index(name)
                write_json(own / "hello.json", {"host": f"h{number}", "node": f"h{number}"})
            (own / "beat").write_text(str(len(self.calls)))
        if (folder / STOP).exists() or (folder / DRAIN).exists():
            write_json(folder / BYE, {})
            self.over(name, "it has ended")
            return
        if name in self.held:
            self.go_on(name)
        for offer, attempt in Mailbox(folder.parents[1]).offers(name):
            mine = attempt.claim(name)
            offer.unlink(missing_ok=True)
            if mine:
                self.held[name] = attempt
                attempt.report({"event": "begun"})
                break

    def go_on(self, name: str) -> None:
        attempt = self.held[name]
        stage, digest = attempt.stage
        acts = self.script.get(stage, [])
        act = acts[0] if acts else "finish"
        if act == "hang":
            return
        if acts:
            acts.pop(0)
        del self.held[name]
        if act in {"lose", "silent"}:
            (self.pilots.pop(name) / "gone").touch()
            if act == "lose":
                self.over(name, "NODE_FAIL")
        elif act in {"yield", "stall"}:
            attempt.declare("yielded", further=act == "yield")
        elif act == "fail":
            attempt.declare("failed", how="error", error="no ideas")
        else:
            self.ran.append(stage)
            attempt.declare("finished", ran=finish(self.store, attempt), wall_s=1.0)


def finish(store: Store, attempt: Attempt) -> bool:
    """Publish an attempt as a stage process does."""
    stage, digest = attempt.stage
    work = attempt.path / WORK
    work.mkdir()
    (work / MANIFEST).write_text(
        json.dumps({"stage": stage, "fingerprint": digest, "inputs": {}, "outputs": {}, "by": attempt.name})
    )
    return publish(store, stage, digest, work)


class ActedLauncher(ClusterLauncher):
    def __init__(self, engine: Engine, **options: Any) -> None:
        pools = options.pop("pools", {"cpu": Pool(pilots=2)})
        super().__init__(pools, **{"patience": AT_ONCE, **options})
        self.acted = engine

    def engine(self) -> Engine:
        return self.acted


class Processes(Engine):
    """A cluster whose nodes are processes on this machine."""

    name = "the cluster of processes"

    def __init__(self) -> None:
        self.agents: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.forgets = False

    def submit(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        with open(mailbox / "agent.log", "ab") as log:
            self.agents[name] = [
                subprocess.Popen(
                    [sys.executable, "-m", "domino_lightning", "agent", str(mailbox), "--node", str(node)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )
                for node in range(pool.nodes)
            ]  # fmt: skip

    def states(self) -> dict[str, State]:
        if self.forgets:
            return {}
        alive = {name: any(agent.poll() is None for agent in agents) for name, agents in self.agents.items()}
        return {name: State("running" if each else "over", "") for name, each in alive.items()}

    def cancel(self, names: Sequence[str]) -> None:
        for agent in (agent for name in names for agent in self.agents.get(name, [])):
            if agent.poll() is None:
                agent.terminate()

    def kill(self, name: str, node: int = 0) -> None:
        """An agent dies, and its ranks with it."""
        os.kill(self.agents[name][node].pid, signal.SIGKILL)
        self.agents[name][node].wait()

    def end(self) -> None:
        for agents in self.agents.values():
            for agent in agents:
                agent.kill()
                agent.wait()
