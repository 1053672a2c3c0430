"""The mailbox between a launcher and its agents: small files on the file system that they share.

```
<root>/sweeps/<name>/
  agents/<pilot>/            token, pilot.json (what its agents have to know), agent.log, stop (now), drain (soon)
    inbox/<stage>-<fp>-NNNN  an attempt that is offered to this pilot: a line with its folder
    nodes/K/                 hello.json, beat (a counter), bye.json
    joint/<stage>-<fp>-NNNN.json   by node 0: where the ranks of an attempt meet
  attempts/<stage>-<fp>/NNNN/
    job.json, ticket         what to run; who renames the ticket to claim.<pilot> runs it, to `withdrawn` takes it back
    work/                    the stage's directory until it is renamed to its place in the store
    report.jsonl, exit.json, exit.K.json, log, log.K
```
Every change of hands is a rename, which has one winner. Nothing here is locked, and no clocks are compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.runner.child import write_job
from domino_lightning.sweep.launchers.base import Task
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import Record, write_json

AGENTS, ATTEMPTS = "agents", "attempts"
HELLO, BYE, BEAT, STOP, DRAIN, TOKEN, PILOT = "hello.json", "bye.json", "beat", "stop", "drain", "token", "pilot.json"
EXIT, REPORT, TICKET, JOB, WORK = "exit.json", "report.jsonl", "ticket", "job.json", "work"


def read_json(path: Path) -> Record | None:
    """An object that is written atomically; None where it is not there, or not yet whole on this machine."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def rename(old: Path, new: Path) -> bool:
    """Whether this call moved a file: of several at the same time, one does."""
    try:
        os.rename(old, new)
    except OSError:
        return False
    return True


def put(path: Path, text: str = "") -> None:
    """A small file, whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a stage: a folder that one pilot at most works in."""

    path: Path

    @property
    def name(self) -> str:
        """Of an offer: `<stage>-<fingerprint>-NNNN`."""
        return f"{self.path.parent.name}-{self.path.name}"

    @property
    def number(self) -> int:
        """From 1."""
        return int(self.path.name)

    @property
    def stage(self) -> tuple[str, str]:
        """Stage and fingerprint."""
        stage, _, digest = self.path.parent.name.rpartition("-")
        return stage, digest

    def claim(self, pilot: str) -> bool:
        """Take it, for a pilot; whether nobody had."""
        return rename(self.path / TICKET, self.path / f"claim.{pilot}")

    def withdraw(self) -> bool:
        """Take it back; whether no pilot had taken it, nor will."""
        return rename(self.path / TICKET, self.path / "withdrawn")

    def claimed_by(self) -> str:
        """The pilot that has taken it; empty: none."""
        found = next(self.path.glob("claim.*"), None)
        return found.name.removeprefix("claim.") if found else ""

    def end(self) -> Record | None:
        """How it ended; None while it has not, as far as anybody has said."""
        if (self.path / "withdrawn").exists():
            return {"event": "withdrawn"}
        return read_json(self.path / EXIT)

    def declare(self, event: str, **fields: Any) -> None:
        """Say how it ended."""
        write_json(self.path / EXIT, {"event": event, **fields})

    def report(self, record: Record) -> None:
        """Append to what is told while it runs."""
        with open(self.path / REPORT, "ab") as file:
            file.write((json.dumps(record) + "\n").encode())

    def reports(self, offset: int) -> tuple[list[Record], int]:
        """What was told after so many bytes, and how many there are now."""
        try:
            with open(self.path / REPORT, "rb") as file:
                file.seek(offset)
                data = file.read()
        except OSError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


class Mailbox:
    """The folders of one sweep.

    Args:
        folder: `<root>/sweeps/<name>`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def pilot(self, name: str) -> Path:
        """The folder of a pilot."""
        return self.folder / AGENTS / name

    def pilots(self) -> list[str]:
        """Names of all pilots that were ever asked for and may still be there."""
        folder = self.folder / AGENTS
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if (path / PILOT).is_file() and not (path / BYE).exists())

    def running(self) -> dict[tuple[str, str], str]:
        """Stages that pilots have claimed and of which no end is known, with the pilot; for people."""
        found = {}
        pilots = set(self.pilots())
        for folder in sorted((self.folder / ATTEMPTS).glob("*")):
            stage, _, digest = folder.name.rpartition("-")
            attempts = self.attempts(stage, digest)
            if attempts and attempts[-1].end() is None and (pilot := attempts[-1].claimed_by()) in pilots:
                found[stage, digest] = pilot
        return found

    def open_pilot(self, name: str, record: Record) -> Path:
        """Make a pilot's folder, before the cluster is asked for it."""
        path = self.pilot(name)
        (path / "inbox").mkdir(parents=True)
        (path / "nodes").mkdir()
        put(path / TOKEN, secrets.token_hex(16))
        write_json(path / PILOT, record)
        return path

    def attempts(self, stage: str, digest: str) -> list[Attempt]:
        """All attempts at a stage, in order."""
        folder = self.folder / ATTEMPTS / f"{stage}-{digest}"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return [Attempt(folder / name) for name in names if name.isdigit()]

    def open_attempt(self, task: Task, after: list[Attempt]) -> Attempt:
        """The next attempt at a stage after those that are known; another launcher's, if that was faster."""
        stage, digest = task.planned.id
        number = after[-1].number + 1 if after else 1
        path = self.folder / ATTEMPTS / f"{stage}-{digest}" / f"{number:04d}"
        made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        made.mkdir(parents=True)
        # What is continued: the latest attempt that got anywhere, else what a run without attempts left.
        seeds = [str(each.path / WORK) for each in reversed(after)] + [str(task.store.path(stage, digest).resolve())]
        write_job(made / JOB, task.store, task.planned, task.tracking, wait=False, directory=path / WORK)
        task_record = {"nodes": task.nodes, "ranks": task.processes, "devices": task.devices, "seeds": seeds}
        write_json(made / "task.json", task_record)
        (made / TICKET).touch()
        if not rename(made, path):
            shutil.rmtree(made, ignore_errors=True)
        return Attempt(path)

    def offer(self, attempt: Attempt, pilot: str) -> None:
        """Offer an attempt to a pilot."""
        with contextlib.suppress(FileNotFoundError):  # the pilot's folder was cleared away
            put(self.pilot(pilot) / "inbox" / attempt.name, str(attempt.path))

    def offers(self, pilot: str) -> Iterator[tuple[Path, Attempt]]:
        """What is offered to a pilot, in the order of names."""
        for path in sorted((self.pilot(pilot) / "inbox").glob("[!.]*")):
            with contextlib.suppress(OSError):
                yield path, Attempt(Path(path.read_text(encoding="utf-8")))
