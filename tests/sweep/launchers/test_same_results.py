"""The shipped sweep of losses at smoke size: the same results on this machine, on Slurm and on Ray."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.launchers.conftest import on_ray, on_slurm
from tests.sweep.launchers.ray_cluster import RayCluster
from tests.sweep.launchers.slurm_cluster import SlurmCluster

LOSSES = Path(__file__).resolve().parents[3] / "experiments/sweeps/losses.yaml"
POOLS = {"cpu": {"cpus": 1, "pilots": 2}}
# Of places (root and launcher are overrides), and of times.
ELSEWHERE = re.compile(r"overrides|\w+_wall_s|tune/speed/.*")


def results(launcher: Mapping[str, Any], folder: Path, env: Mapping[str, str]) -> list[dict[str, str]]:
    """`results.csv` of the sweep on a launcher."""
    here = {**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(LOSSES.parents[2])}
    fewer = "exclude=[{loss: [paper-sequence, paper-token, paper-bounded]}]"
    words = [str(LOSSES), "--smoke", "seeds=[0]", fewer, f"root={folder}", f"launcher={json.dumps(launcher)}"]
    report = ["report", str(folder / "smoke/sweeps/losses"), "--output", str(folder / "report")]
    for command in (["sweep", *words], report):
        done = subprocess.run(
            [sys.executable, "-m", "domino_lightning", *command], env=here, cwd=folder, text=True, timeout=900,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    with open(folder / "report/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if not ELSEWHERE.fullmatch(name)} for row in rows]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Of one thread a stage, as the pools have."""
    launcher = {
        "class_path": "domino_lightning.sweep.LocalLauncher",
        "init_args": {"slots": len(os.sched_getaffinity(0)), "gpus": []},
    }
    rows = results(launcher, tmp_path_factory.mktemp("local"), os.environ)
    assert [row["status"] for row in rows] == ["finished"] * 3
    assert all(row["pass@1"] and row["best_heldout_nll"] and row["tune_fingerprint"] for row in rows)
    return rows


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_gives_what_this_machine_gives(local: list[dict[str, str]], slurm: SlurmCluster, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert results(on_slurm(POOLS), tmp_path / "store", slurm.env) == local


@pytest.mark.slow
@pytest.mark.ray
def test_ray_gives_what_this_machine_gives(local: list[dict[str, str]], ray: RayCluster, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert results(on_ray(ray.address, POOLS), tmp_path / "store", os.environ) == local
