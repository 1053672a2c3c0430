"""Sweeps on a real Ray of which parts are taken away."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import UserError
from domino_lightning.sweep import Pool, RayLauncher
from domino_lightning.sweep.launchers.cluster.ranks import free_port
from domino_lightning.sweep.launchers.cluster.ray import _bytes
from tests.conftest import is_running
from tests.sweep.launchers.conftest import Launched, on_ray, stage_processes, wait_until
from tests.sweep.launchers.ray_cluster import RayCluster

on_a_cluster = [pytest.mark.slow, pytest.mark.ray]
Node = Callable[..., dict[str, Any]]


@pytest.fixture
def waiting(
    ray: RayCluster, launched: Callable[..., Launched], scripted: Node, tmp_path: Path
) -> Iterator[Callable[..., Launched]]:
    """A sweep up to `synthesize`, whose generator waits for the file `go`."""

    def make() -> Launched:
        tree = {"until": "synthesize", "set": {"synthesize.generator": scripted("wait"), "synthesize.block_size": 8}}
        return launched(os.environ, on_ray(ray.address, {"cpu": {"cpus": 1, "pilots": 2}}), tree)

    yield make
    (tmp_path / "go").touch()


def attempt_node(pids: list[int], ray: RayCluster) -> int:
    """Which of the nodes the processes run on: the one among whose raylet's descendants they are."""
    for number, raylet in enumerate(ray.raylets):
        if any(raylet in ancestors(pid) for pid in pids):
            return number
    raise AssertionError("on no node")


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


class TestOnACluster:
    pytestmark = on_a_cluster

    def test_a_node_that_is_taken_away_loses_its_stage_to_the_next_pilot(
        self, waiting: Callable[..., Launched], ray: RayCluster, tmp_path: Path
    ) -> None:
        sweep = waiting()
        process = sweep.start()
        attempt = sweep.running("synthesize")
        pids = stage_processes(attempt)
        ray.ask(f"kill {attempt_node(pids, ray)}")
        wait_until(lambda: not any(map(is_running, pids)))
        sweep.running("synthesize", 2)
        (tmp_path / "go").touch()
        sweep.finish(process)
        assert sweep.ends("synthesize") == ["lost", "finished"]
        assert len(sweep.manifests("synthesize")) == 1

    def test_the_same_command_takes_up_a_sweep_whose_launcher_was_killed(
        self, waiting: Callable[..., Launched], tmp_path: Path
    ) -> None:
        sweep = waiting()
        first = sweep.start()
        attempt = sweep.running("synthesize")
        first.kill()
        again = sweep.start()
        wait_until(lambda: len(sweep.events("launched")) == 2 and sweep.events("started", stage="synthesize")[1:])
        (tmp_path / "go").touch()
        sweep.finish(again)
        assert [each.path for each in sweep.attempts("synthesize")] == [attempt.path]
        assert len((tmp_path / "calls.txt").read_text().splitlines()) == 1

    def test_without_its_head_a_sweep_says_what_to_do_and_leaves_nothing_behind(
        self, waiting: Callable[..., Launched], ray: RayCluster, tmp_path: Path
    ) -> None:
        """Whether a worker outlives its head is Ray's matter: a stage that goes on is published, else continued."""
        sweep = waiting()
        process = sweep.start()
        pids = stage_processes(sweep.running("synthesize"))
        ray.ask("head")
        process.kill()
        code, words = sweep.run()
        assert code == 2
        assert "no answer from Ray" in words
        assert "ray start --head" in words
        (tmp_path / "go").touch()
        wait_until(lambda: not any(map(is_running, pids)))
        assert len(sweep.manifests("synthesize")) <= 1


def test_what_only_slurm_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"pools\.cpu\.partition: is Slurm's"):
        RayLauncher({"cpu": Pool(partition="main")})


def test_memory_is_bytes_for_ray() -> None:
    assert [_bytes(text) for text in ("2G", "512M", "100")] == [2 * 2**30, 512 * 2**20, 100 * 2**20]


def test_without_ray_its_launcher_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "domino_lightning\[ray\]"'):
        RayLauncher({"cpu": Pool()}).engine()


def test_where_nothing_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would look for a minute, at every question of a sweep."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("subprocess.Popen", None)
    words = r"no answer from Ray at '127\.0\.0\.1:\d+' \(Connection refused\).*ray start --head"
    with pytest.raises(UserError, match=words):
        RayLauncher({"cpu": Pool()}, address=f"127.0.0.1:{free_port()}").engine()
