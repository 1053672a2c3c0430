"""Sweeps on a real Slurm of which parts are killed: no stage is published twice, none is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import is_running
from tests.sweep.launchers.conftest import Launched, on_slurm, signal_all, stage_processes, wait_until
from tests.sweep.launchers.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

CPU = {"cpu": {"cpus": 1, "pilots": 2}}
Node = Callable[..., dict[str, Any]]


@pytest.fixture
def waiting(
    slurm: SlurmCluster, launched: Callable[..., Launched], scripted: Node, tmp_path: Path
) -> Iterator[Callable[..., Launched]]:
    """A sweep up to `synthesize`, whose generator waits for the file `go`."""

    def make(pools: dict[str, Any] = CPU) -> Launched:
        slurm.env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        tree = {"until": "synthesize", "set": {"synthesize.generator": scripted("wait"), "synthesize.block_size": 8}}
        return launched(slurm.env, on_slurm(pools), tree)

    yield make
    (tmp_path / "go").touch()


def calls(folder: Path) -> int:
    return len((folder / "calls.txt").read_text().splitlines())


def agent_of(attempt: Any) -> list[int]:
    """The agents that started an attempt's processes."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in stage_processes(attempt)]
    return sorted({int(stat.rpartition(")")[2].split()[1]) for stat in stats} - set(stage_processes(attempt)))


def test_the_same_command_takes_up_a_sweep_whose_launcher_was_killed(
    waiting: Callable[..., Launched], slurm: SlurmCluster, tmp_path: Path
) -> None:
    sweep = waiting()
    first = sweep.start()
    attempt = sweep.running("synthesize")
    first.kill()
    again = sweep.start()
    wait_until(lambda: len(sweep.events("launched")) == 2 and sweep.events("started", stage="synthesize")[1:])
    code, words = sweep.run()
    assert code == 2
    assert "is running this sweep" in words
    (tmp_path / "go").touch()
    sweep.finish(again)
    assert [each.path for each in sweep.attempts("synthesize")] == [attempt.path]
    assert calls(tmp_path) == 1
    wait_until(lambda: set(slurm.jobs().values()) <= {"COMPLETED", "CANCELLED", "COMPLETING"})


def test_an_agent_that_is_killed_loses_its_stage_to_the_next_pilot(
    waiting: Callable[..., Launched], tmp_path: Path
) -> None:
    sweep = waiting()
    process = sweep.start()
    attempt = sweep.running("synthesize")
    pids = stage_processes(attempt)
    signal_all(agent_of(attempt), signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)))
    sweep.running("synthesize", 2)
    (tmp_path / "go").touch()
    sweep.finish(process)
    assert sweep.ends("synthesize") == ["lost", "finished"]
    assert len(sweep.manifests("synthesize")) == 1


def test_a_stage_that_is_killed_has_failed_and_says_so(waiting: Callable[..., Launched], tmp_path: Path) -> None:
    sweep = waiting()
    process = sweep.start()
    signal_all(stage_processes(sweep.running("synthesize")), signal.SIGKILL)
    code, said = process.ended()
    assert code == 1
    assert "synthesize was killed by signal 9: out of memory, or killed by hand" in said
    (tmp_path / "go").touch()
    assert sweep.run("--retry-failed")[0] == 0
    assert sweep.ends("synthesize") == ["failed", "finished"]


def test_of_a_stage_that_runs_on_behind_a_dead_slurmd_and_its_second_copy_one_is_published(
    waiting: Callable[..., Launched], slurm: SlurmCluster, tmp_path: Path
) -> None:
    """The first copy is frozen for as long as it takes to be given up, then both end."""
    sweep = waiting()
    process = sweep.start()
    first = sweep.running("synthesize")
    frozen = [*agent_of(first), *stage_processes(first)]
    host = next(node for node in ("n1", "n2") if set(agent_of(first)) & slurm.processes(node))
    signal_all(frozen, signal.SIGSTOP)
    slurm.kill(host)
    slurm.down(host)
    second = sweep.running("synthesize", 2)
    (tmp_path / "go").touch()
    sweep.finish(process)
    assert (second.end() or {})["ran"]
    signal_all(frozen, signal.SIGCONT)
    wait_until(lambda: not any(map(is_running, frozen)))
    assert (first.end() or {})["event"] in {"finished", "stopped"}
    assert not (first.end() or {}).get("ran")
    assert len(sweep.manifests("synthesize")) == 1
    assert not (first.path / "work").exists() or (first.end() or {})["event"] == "stopped"


def test_a_controller_that_dies_and_comes_back_costs_nothing(
    waiting: Callable[..., Launched], slurm: SlurmCluster, tmp_path: Path
) -> None:
    sweep = waiting()
    process = sweep.start()
    attempt = sweep.running("synthesize")
    slurm.kill("slurmctld")
    time.sleep(3)
    (tmp_path / "go").touch()
    wait_until(lambda: attempt.end() is not None)
    slurm.start_controller()
    sweep.finish(process)
    assert len(sweep.manifests("synthesize")) == 1


def test_a_submission_that_succeeds_and_reports_failure_starts_one_job(
    waiting: Callable[..., Launched], slurm: SlurmCluster, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    script = '#!/bin/sh\n/usr/bin/sbatch "$@"\necho "sbatch: error: Unexpected message received" >&2\nexit 1\n'
    (tools / "sbatch").write_text(script)
    (tools / "sbatch").chmod(0o755)
    slurm.env["PATH"] = f"{tools}{os.pathsep}{slurm.env['PATH']}"
    (tmp_path / "go").touch()
    sweep = waiting()
    assert sweep.run()[0] == 0
    assert calls(tmp_path) == 1
    assert len(slurm.jobs()) == 1


def test_a_held_job_is_told_and_its_stage_runs_once_when_it_is_released(
    waiting: Callable[..., Launched], slurm: SlurmCluster, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    sweep = waiting(pools={"cpu": {"cpus": 1, "options": ["--hold"]}})
    process = sweep.start()
    wait_until(lambda: slurm.run("squeue", "-h", "-o", "%r").strip() == "JobHeldUser")
    (job,) = slurm.jobs()
    wait_until(lambda: f"scontrol release {job}" in process.said())
    slurm.run("scontrol", "release", job)
    sweep.finish(process)
    assert calls(tmp_path) == 1


def test_a_pool_that_slurm_refuses_is_one_line(waiting: Callable[..., Launched]) -> None:
    sweep = waiting(pools={"cpu": {"cpus": 1, "partition": "h1000"}})
    code, words = sweep.run()
    assert code == 2
    assert "Slurm refuses a pilot of pool 'cpu'" in words
    assert "invalid partition" in words.lower()
