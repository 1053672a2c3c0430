"""The append-only event log of a sweep, and the state of its stages that the log and the store tell."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.sweep.graph import StageId
from domino_lightning.utils.jsonl import Record, json_text

EVENTS = "events.jsonl"


class EventLog:
    """Appends events to a file, each as one line by one write, so that a kill tears at most the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(self.fd).st_size
        if size and os.pread(self.fd, 1, size - 1) != b"\n":  # a torn line stays one line
            os.write(self.fd, b"\n")

    def write(self, event: str, **fields: Any) -> Record:
        """Append an event and give it back.

        Raises:
            OSError: the disk is full, for example.
        """
        record = {"time": now(), "event": event, **fields}
        line = (json_text(record) + "\n").encode()
        written = os.write(self.fd, line)
        if written < len(line):  # the disk filled up within the line: the rest says so
            os.write(self.fd, line[written:])
        return record

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def now() -> str:
    """UTC with milliseconds."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def read_events(path: Path) -> list[Record]:
    """The events of a log; lines that a kill tore are left out."""
    if not path.is_file():
        return []
    events: list[Record] = []
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


@dataclass
class StageState:
    """What is known of a distinct stage.

    Attributes:
        status: pending, waiting (another process holds it), running, interrupted, finished, failed, or blocked (what it
            needs has failed).
        error: the last one, of a failed stage.
        where: slot or devices of a running stage.
        wall_s: of a finished stage that a sweep of this name ran.
        rss_mb: the largest resident set seen.
    """

    status: str = "pending"
    error: str = ""
    where: str = ""
    wall_s: float | None = None
    rss_mb: int | None = None


@dataclass
class SweepState:
    """The states of all distinct stages, and the last launch."""

    stages: dict[StageId, StageState] = field(default_factory=dict)
    launched: Record = field(default_factory=dict)
    closed: Record = field(default_factory=dict)


def fold(
    events: Iterable[Mapping[str, Any]],
    stages: Iterable[StageId],
    finished: Callable[[str, str], bool],
    running: bool,
    elsewhere: Mapping[StageId, str] | None = None,
) -> SweepState:
    """The state of the given stages.

    Args:
        events: of the log, in order.
        stages: the stages that the sweep has now; events of others are of an earlier form of it.
        finished: whether the store has a stage's manifest, which is the truth.
        running: whether the sweep's process is alive; else what was running is interrupted.
        elsewhere: stages that run without it, on a cluster, and where.
    """
    state = SweepState({known: StageState() for known in stages})
    for event in events:
        name = event["event"]
        if name == "launched":
            state.launched, state.closed = dict(event), {}
            _interrupt(state)
            if event.get("retry_failed"):
                retry(state)
        elif name == "closed":
            state.closed = dict(event)
        known = state.stages.get((str(event.get("stage")), str(event.get("fingerprint"))))
        if known is not None:
            _apply(known, event)
    if not running:
        _interrupt(state)
    for (stage, digest), known in state.stages.items():
        if finished(stage, digest):
            known.status, known.error = "finished", ""
        elif elsewhere and (stage, digest) in elsewhere:
            known.status, known.where, known.error = "running", elsewhere[stage, digest], ""
        elif known.status == "finished":  # its manifest was removed: by --force, gc or hand
            known.status = "pending"
    return state


def _apply(known: StageState, event: Mapping[str, Any]) -> None:
    status = {"started": "running", "waiting": "waiting", "finished": "finished", "failed": "failed"}
    if event["event"] not in status:
        return
    known.status = status[event["event"]]
    known.where, known.error = str(event.get("where", "")), str(event.get("error", ""))
    known.wall_s = event.get("wall_s", known.wall_s)
    known.rss_mb = event.get("rss_mb", known.rss_mb)


def retry(state: SweepState) -> None:
    """What has failed is to be tried again, and its error is over."""
    for known in state.stages.values():
        if known.status == "failed":
            known.status, known.error = "pending", ""


def log_file(folder: Path, stage: str, digest: str) -> Path:
    """Where a stage of the sweep in `folder` prints."""
    return folder / "logs" / f"{stage}-{digest}.log"


def _interrupt(state: SweepState) -> None:
    for known in state.stages.values():
        if known.status in {"running", "waiting"}:
            known.status = "interrupted" if known.status == "running" else "pending"
