"""Training over two nodes of a real Slurm that is killed or has to make room: the same bits as undisturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.sweep.launchers.cluster.mailbox import Attempt
from tests.conftest import is_running, small_document
from tests.sweep.launchers.conftest import Launched, on_slurm, stage_processes, wait_until
from tests.sweep.launchers.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.ddp]

STEPS = 40
TUNE = {
    "tune.trainer.max_steps": STEPS,
    "tune.trainer.val_check_interval": 20,
    "tune.trainer.strategy": "ddp",
    "tune.data.batch_size": 4,
    "tune.runtime.checkpoint_every_n_steps": 5,
}
WIDE = {"cpu": {"cpus": 1}, "wide": {"cpus": 1, "nodes": 2, "grace": 20}}
OUTPUTS = ("soft_prompt.safetensors", "metrics.csv")


def made(manifest: Path) -> dict[str, str]:
    """Fingerprint of a tune stage, and hashes of what it has made."""
    outputs = json.loads(manifest.read_text())["outputs"]
    return {"fingerprint": manifest.parent.name, **{name: outputs[name]["sha256"] for name in OUTPUTS}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> dict[str, str]:
    """What the same training on two ranks of this machine has made."""
    folder = tmp_path_factory.mktemp("undisturbed")
    document = small_document(folder, tiny_backbone)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "domino_lightning", "run", "experiment.yaml", "--until", "tune"]
    keys = [f"{key}={value}" for key, value in TUNE.items()]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *keys, "tune.trainer.devices=2"], cwd=folder, env=env, timeout=400)
    assert done.returncode == 0
    (manifest,) = (folder / "outputs/stages/tune").glob("*/manifest.json")
    return made(manifest)


def saved(attempt: Attempt) -> bool:
    return (attempt.path / "work/scratch/last.ckpt").is_file()


def continued(sweep: Launched) -> bool:
    """Whether the second attempt began with the first one's checkpoint."""
    second = sweep.attempts("tune")[1]
    (joint,) = sweep.folder.glob(f"agents/*/joint/{second.name}.json")
    return "scratch/last.ckpt" in json.loads(joint.read_text())["files"]


@pytest.fixture
def wide(slurm: SlurmCluster, launched: Callable[..., Launched]) -> Launched:
    tree = {"until": "tune", "set": {**TUNE, "tune.trainer.num_nodes": 2}}
    return launched(slurm.env, on_slurm(WIDE, {"tune": "wide"}), tree)


def test_a_node_that_dies_costs_no_more_than_the_steps_since_the_last_checkpoint(
    wide: Launched, slurm: SlurmCluster, undisturbed: dict[str, str]
) -> None:
    process = wide.start()
    first = wide.running("tune")
    wait_until(lambda: saved(first))
    pids = stage_processes(first)
    assert len(pids) == 2
    slurm.kill_node("n2")
    slurm.start_node("n2")
    slurm.run("scontrol", "update", "nodename=n2", "state=resume")
    wide.finish(process)
    assert wide.ends("tune") in (["lost", "finished"], ["yielded", "finished"])
    assert continued(wide)
    assert not any(map(is_running, pids))
    (manifest,) = wide.manifests("tune")
    assert made(manifest) == undisturbed


def test_a_preempted_stage_saves_makes_room_and_is_continued(
    wide: Launched, slurm: SlurmCluster, undisturbed: dict[str, str]
) -> None:
    process = wide.start()
    first = wide.running("tune")
    wait_until(lambda: saved(first))
    job = ["-p", "urgent", "-N2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 5"]
    urgent = slurm.run("sbatch", "--parsable", *job).strip()
    assert urgent
    wide.finish(process)
    assert wide.ends("tune") == ["yielded", "finished"]
    assert continued(wide)
    (manifest,) = wide.manifests("tune")
    assert made(manifest) == undisturbed


SLOW = """
import time
from pathlib import Path
from domino_lightning.synthesis import HeldoutReplay


class Slow(HeldoutReplay):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def generate(self, rows, seed):
        if (self.folder / "slow").exists():
            time.sleep(5)
        return super().generate(rows, seed)
"""


def test_a_stage_that_outlasts_its_pilot_goes_on_in_the_next(
    slurm: SlurmCluster, launched: Callable[..., Launched], tmp_path: Path, scripted: Callable[..., dict[str, Any]]
) -> None:
    scripted()
    (tmp_path / "fork/slow_generator.py").write_text(SLOW)
    (tmp_path / "slow").touch()
    generator = {"class_path": "slow_generator.Slow", "init_args": {"folder": str(tmp_path)}}
    keys = {"synthesize.generator": generator, "synthesize.block_size": 2, "synthesize.stop.candidates": 24}
    pools = {"cpu": {"cpus": 1, "time": "00:01:00", "grace": 20}}
    env = {**slurm.env, "PYTHONPATH": os.environ["PYTHONPATH"]}
    sweep = launched(env, on_slurm(pools), {"until": "synthesize", "set": keys})
    process = sweep.start()
    wait_until(lambda: "yielded" in sweep.ends("synthesize") or process.process.poll() is not None)
    (tmp_path / "slow").unlink()
    sweep.finish(process)
    ends = sweep.ends("synthesize")
    assert ends[0] == "yielded"
    assert ends[-1] == "finished"
    (manifest,) = sweep.manifests("synthesize")
    rows = [json.loads(line) for line in (manifest.parent / "raw-00000.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    command = [sys.executable, "-m", "domino_lightning", "sweep", str(sweep.path), "launcher={class_path: "
               "domino_lightning.sweep.LocalLauncher}", f"root={tmp_path / 'undisturbed'}"]  # fmt: skip
    assert subprocess.run(command, cwd=tmp_path, env=env, timeout=400).returncode == 0
    (other,) = (tmp_path / "undisturbed/stages/synthesize").glob("*/raw-00000.jsonl")
    assert (manifest.parent / "raw-00000.jsonl").read_bytes() == other.read_bytes()
