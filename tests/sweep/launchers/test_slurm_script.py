"""What Slurm is asked, and how its answers are read; no daemon."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.sweep import Pool
from domino_lightning.sweep.launchers.cluster.engine import NoAnswer, Refused, Setting, State
from domino_lightning.sweep.launchers.cluster.slurm import Slurm


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_pilots_script_names_variables_and_never_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    setting = Setting("/venv/bin/python", ["apptainer", "exec", "--nv", "im age.sif"], ["module load cuda"],
                      ["WANDB_API_KEY", "NOT_SET"])  # fmt: skip
    pool = Pool(cpus=64, gpus=8, nodes=2, mem="400G", time="12:00:00", partition="h100", grace=180,
                options=["--constraint=a"])  # fmt: skip
    script = Slurm(setting).script("domino-mine-gpu-0", pool, Path("/store/agents/p"), ["n3", "n7"])
    lines = script.splitlines()
    for line in ("nodes=2", "ntasks-per-node=1", "cpus-per-task=64", "gres=gpu:8", "mem=400G", "time=12:00:00",
                 "partition=h100", "signal=USR2@180", "exclude=n3,n7", "no-requeue", "constraint=a"):  # fmt: skip
        assert f"#SBATCH --{line}" in lines
    (export,) = [line for line in lines if "--export=" in line and line.startswith("#")]
    assert "WANDB_API_KEY" in export
    assert "NOT_SET" not in export
    assert "s3cret" not in script
    assert "gpus-per-task" not in script
    assert lines[-2] == "module load cuda"
    assert lines[-1].startswith("exec srun --export=ALL")
    agent = "apptainer exec --nv 'im age.sif' /venv/bin/python -m domino_lightning agent /store/agents/p"
    assert lines[-1].endswith(agent)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_answers_of_squeue_are_read_by_name(tools: Path) -> None:
    tool(
        tools,
        "squeue",
        """cat <<'END'
1|RUNNING|None|a
2|PENDING|Priority|b
3|PENDING|JobHeldUser|c
4|NODE_FAIL|NodeDown|d
5|PENDING|launch_failed_requeued_held|e
6|CANCELLED|None|f
7|COMPLETING|None|f
8|PREEMPTED|None|name with | in it
END""",
    )
    states = Slurm(Setting("python")).states()
    phases = {name: state.phase for name, state in states.items()}
    assert phases == {"a": "running", "b": "pending", "c": "held", "d": "over", "e": "over", "f": "running",
                      "name with | in it": "over"}  # fmt: skip
    assert states["c"] == State("held", "job 3 is held (JobHeldUser): `scontrol release 3` lets it go on")


def test_no_answer_is_told_from_a_refusal(tools: Path, tmp_path: Path) -> None:
    slurm = Slurm(Setting("python"))
    said = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    tool(tools, "sbatch", f"echo '{said}' >&2; exit 1")
    with pytest.raises(NoAnswer, match="Unable to contact"):
        slurm.submit("a", Pool(), tmp_path)
    tool(tools, "sbatch", "echo 'sbatch: error: invalid partition specified: h1000' >&2; exit 1")
    with pytest.raises(Refused, match="^invalid partition specified: h1000$"):
        slurm.submit("a", Pool(), tmp_path)


def test_a_command_that_hangs_is_given_up(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_lightning.sweep.launchers.cluster.slurm.CALL_S", 0.2)
    tool(tools, "squeue", "exec sleep 60")
    with pytest.raises(NoAnswer, match="no answer within"):
        Slurm(Setting("python")).states()


def test_inside_a_job_its_variables_do_not_become_options(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "main")
    monkeypatch.setenv("SLURM_CONF", "/etc/mine.conf")
    tool(tools, "squeue", 'echo "1|RUNNING|None|$SLURM_JOB_ID$SBATCH_PARTITION$SLURM_CONF"')
    assert list(Slurm(Setting("python")).states()) == ["/etc/mine.conf"]


def test_a_host_without_slurm_is_told(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(UserError, match="login node"):
        Slurm(Setting("python")).states()
