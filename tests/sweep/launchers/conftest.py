"""Sweeps as users start them, and real clusters to start them on."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from domino_lightning.sweep import load_sweep
from domino_lightning.sweep.events import EVENTS, read_events
from domino_lightning.sweep.launchers.cluster.mailbox import Attempt, Mailbox
from tests.conftest import wait_until as wait_so_long
from tests.sweep.launchers import slurm_cluster
from tests.sweep.launchers.guard import Guard
from tests.sweep.launchers.ray_cluster import RayCluster

MARK = "DOMINO_TEST_MARK"
PASSED = ["PYTHONPATH", "DOMINO_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", MARK]
SOON = {"look_s": 1.0, "beat_s": 0.5, "lease_s": 5.0, "lost_s": 30.0, "start_s": 15.0}
PATIENCE_S = 400.0  # of tests with daemons, on busy cores
REQUIRED = "DOMINO_REQUIRE_CLUSTERS"  # set where a cluster that cannot be started is a failure and no reason to skip


def wait_until(condition: Callable[[], Any]) -> None:
    """Look until the condition holds."""
    wait_so_long(condition, PATIENCE_S)


def lacking(what: str) -> None:
    """Skip, or fail where clusters are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set: {what}")
    pytest.skip(what)


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is started from here on is killed when the test is over."""
    monkeypatch.setenv(MARK, str(tmp_path))
    # Slurm writes a title over the first variables of its own processes.
    guard = Guard(f"{MARK}={tmp_path}", f"SLURM_CONF={slurm_cluster.conf_below(tmp_path / 'slurm')}")
    yield
    guard.end()


@pytest.fixture
def slurm(tmp_path: Path, guarded: None) -> Iterator[slurm_cluster.SlurmCluster]:
    """Two nodes of four cores."""
    if missing := slurm_cluster.missing():
        lacking(f"no Slurm here: {', '.join(missing)}")
    cluster = slurm_cluster.SlurmCluster(tmp_path / "slurm")
    yield cluster
    cluster.stop()


@pytest.fixture
def ray(guarded: None) -> Iterator[RayCluster]:
    """A head and two nodes of two cores."""
    if importlib.util.find_spec("ray") is None:
        lacking("Ray is not installed")
    cluster = RayCluster()
    yield cluster
    cluster.stop()


class Started(NamedTuple):
    """The process of a sweep, and the file with what it says."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it has said, when it is over."""
        return self.process.wait(PATIENCE_S), self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Launched:
    """One sweep file, started as users do, and what it left."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path, self.env = path, dict(env)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> Started:
        command = [sys.executable, "-m", "domino_lightning", "sweep", str(self.path), *arguments]
        output = self.path.with_name(f"output-{len(self.processes)}.txt")
        with open(output, "wb") as file:
            process = subprocess.Popen(command, env=self.env, cwd=self.path.parent, stdout=file, stderr=file)
        self.processes.append(process)
        return Started(process, output)

    def run(self, *arguments: str) -> tuple[int, str]:
        return self.start(*arguments).ended()

    def finish(self, process: Started) -> str:
        """Wait for a sweep that has to finish."""
        code, said = process.ended()
        assert code == 0, said
        return said

    @cached_property
    def folder(self) -> Path:
        return load_sweep(self.path).folder

    def events(self, *names: str, stage: str = "") -> list[dict[str, Any]]:
        found = read_events(self.folder / EVENTS)
        return [each for each in found if each["event"] in names and (not stage or each.get("stage") == stage)]

    def attempts(self, stage: str) -> list[Attempt]:
        """At the one distinct stage of that name that was tried."""
        folders = list((self.folder / "attempts").glob(f"{stage}-*"))
        assert len(folders) <= 1, folders
        return [attempt for each in folders for attempt in Mailbox(self.folder).attempts(stage, each.name[-16:])]

    def ends(self, stage: str) -> list[str]:
        return [(attempt.end() or {"event": "none"})["event"] for attempt in self.attempts(stage)]

    def manifests(self, stage: str) -> list[Path]:
        return list((self.folder.parents[1] / "stages" / stage).glob("*/manifest.json"))

    def running(self, stage: str, number: int = 1) -> Attempt:
        """An attempt at the stage, once it is at its own work."""
        wait_until(lambda: len(self.attempts(stage)) >= number and self.attempts(stage)[-1].reports(0)[0])
        attempt = self.attempts(stage)[number - 1]
        wait_until(lambda: any(each["event"] == "begun" for each in attempt.reports(0)[0]))
        return attempt

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def launched(write_sweep: Callable[..., Path], guarded: None) -> Iterator[Callable[..., Launched]]:
    """`launched(env, launcher, tree, experiment)` writes a sweep with that launcher."""
    made: list[Launched] = []

    def make(
        env: Mapping[str, str], launcher: Mapping[str, Any], tree: Mapping[str, Any], experiment: Any = None
    ) -> Launched:
        each = Launched(write_sweep({**tree, "launcher": dict(launcher)}, experiment), {**env, "OMP_NUM_THREADS": "1"})
        made.append(each)
        return each

    yield make
    for each in made:
        each.end()


def on_slurm(pools: Mapping[str, Any], stages: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """A launcher's node."""
    given = {"pools": dict(pools), "stages": dict(stages or {}), "env": PASSED, "patience": SOON, **options}
    return {"class_path": "domino_lightning.sweep.SlurmLauncher", "init_args": given}


def on_ray(address: str, pools: Mapping[str, Any], stages: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A launcher's node."""
    given = {"address": address, "pools": dict(pools), "stages": dict(stages or {}), "env": PASSED, "patience": SOON}
    return {"class_path": "domino_lightning.sweep.RayLauncher", "init_args": given}


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def stage_processes(attempt: Attempt) -> list[int]:
    """Processes of an attempt's ranks, in the order of their numbers."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(attempt.path / "job.json") in (each / "cmdline").read_text().split("\0"):
                found.append(int(each.name))
    return sorted(found)
