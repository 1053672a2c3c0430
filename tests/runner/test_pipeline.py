"""What runs again and what does not, and what failures leave behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.store.store import MANIFEST, SCRATCH, Store
from tests.runner.experiment import FORK_LOSS, REPLAY, Write, ran, run


def test_a_finished_stage_never_runs_again(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    stages = ["prepare", "synthesize", "curate", "answer"]
    assert ran(run(path, until="answer")) == stages
    assert ran(run(path, until="answer")) == []
    assert ran(run(path, "answer.runtime.workers=1", "name=other", until="answer")) == []
    assert ran(run(path, "curate.filters=[domino_lightning.curation.Parses]", until="answer")) == stages[2:]
    assert ran(run(path, until="answer", force=["curate"])) == ["curate"]


def test_finetune_changes_rerun_finetune_and_evaluate_alone(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    run(path, "finetune.source=none", until="evaluate")
    assert ran(run(path, "finetune.source=none", "finetune.seed=5", until="evaluate")) == [
        "finetune",
        "evaluate",
    ]


def test_a_stage_without_manifest_runs_again(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    curate = run(path, until="curate")[-1]
    (curate.directory / MANIFEST).unlink()
    assert ran(run(path, until="curate")) == ["curate"]
    assert (curate.directory / MANIFEST).is_file()


def test_trial_record_says_what_ran_and_links_resolve(write_experiment: Write, tmp_path: Path) -> None:
    outcomes = run(write_experiment(REPLAY), "curate.filters=[domino_lightning.curation.Parses]", until="curate")
    folder = tmp_path / "outputs/runs/small/trial"
    record = json.loads((folder / "trial.json").read_text())
    assert record["status"] == "finished"
    assert record["overrides"] == ["curate.filters=[domino_lightning.curation.Parses]"]
    for outcome in outcomes:
        assert record["stages"][outcome.planned.stage] == outcome.directory.name
        assert (folder / outcome.planned.stage).resolve() == outcome.directory.resolve()


def test_tampered_input_stops_its_reader(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    prepare = run(path, until="prepare")[0]
    (prepare.directory / "reference.jsonl").write_text("{}\n")
    with pytest.raises(StageFailed, match=r"reference\.jsonl has changed since"):
        run(path, until="curate")
    record = json.loads((tmp_path / "outputs/runs/small/trial/trial.json").read_text())
    assert record["status"] == "failed"
    assert "has changed since" in record["error"]
    assert ran(run(path, until="curate", force=["prepare"]))[0] == "prepare"


def test_what_ends_the_process_from_within_has_failed(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from domino_lightning.cli.main import main
    from domino_lightning.stages.prepare import Prepare

    def ending(self: Prepare, work: Any) -> Any:
        sys.exit(0)

    monkeypatch.setattr(Prepare, "run", ending)
    assert main(["run", str(write_experiment(REPLAY)), "--trial", "trial"]) == 1
    assert "domino: stage prepare: SystemExit: 0\n" in capsys.readouterr().err
    record = json.loads((tmp_path / "outputs/runs/small/trial/trial.json").read_text())
    assert record["status"] == "failed"


def test_what_ctrl_c_ends_is_interrupted(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_lightning.stages.prepare import Prepare

    def interrupted(self: Prepare, execute: bool = True) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Prepare, "splits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(write_experiment(REPLAY), until="prepare")
    record = json.loads((tmp_path / "outputs/runs/small/trial/trial.json").read_text())
    assert record["status"] == "interrupted"
    assert "error" not in record


@pytest.mark.parametrize("content", ["", '{"outputs": {'], ids=["empty", "cut off"])
def test_a_damaged_manifest_makes_the_stage_run_again_with_a_word(write_experiment: Write, content: str) -> None:
    path = write_experiment(REPLAY)
    prepare = run(path, until="prepare")[0]
    (prepare.directory / MANIFEST).write_text(content)
    told: list[str] = []
    assert ran(run(path, until="prepare", announce=told.append)) == ["prepare"]
    assert "its manifest is damaged, so the stage is run again" in told[0]


@pytest.mark.parametrize(
    ("name", "directory", "words"),
    [
        ("stages", False, "stages"),
        ("stages/prepare", False, "prepare"),
        ("runs", False, "runs"),
        ("runs/small/trial/trial.json", True, "trial.json"),
        ("runs/small/trial/.lock", True, ".lock"),
    ],
)
def test_what_lies_in_the_way_is_one_line(
    write_experiment: Write, tmp_path: Path, name: str, directory: bool, words: str
) -> None:
    path, place = write_experiment(REPLAY), tmp_path / "outputs" / name
    place.parent.mkdir(parents=True)
    place.mkdir() if directory else place.write_text("")
    with pytest.raises((StageFailed, UserError), match=rf"outputs.*{words}: .*(Move it away|Remove)"):
        run(path, until="prepare")


def test_a_full_disk_is_one_line(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from domino_lightning.stages.prepare import Prepare

    def full(self: Prepare, work: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Prepare, "run", full)
    assert main(["run", str(write_experiment(REPLAY)), "--until", "prepare"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"domino: {tmp_path / 'outputs'}: the disk is full. Free space, and give the same command")
    record = json.loads((tmp_path / "outputs/runs/small/default/trial.json").read_text())
    assert (record["status"], "the disk is full" in record["error"]) == ("failed", True)


def test_refused_input_leaves_no_stage_directory(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    (tmp_path / "data.jsonl").write_text('{"code": "def f(): pass"}\n')
    with pytest.raises(UserError, match="'input' must be a string"):
        run(path, until="prepare")
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []


def test_a_checkpoint_never_overrides_the_configuration(
    write_experiment: Write, fork: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run is continued with another logging cadence: the new one is used, the old steps stay."""
    import torch

    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}, "trainer": {"max_steps": 8}}})
    quiet = ["tune.trainer.val_check_interval=2"]
    monkeypatch.setenv("FORK_DIES_AT", "0.5")  # at step 4 of 8
    with pytest.raises(RuntimeError, match="went away"):
        run(path, *quiet, "tune.runtime.log_every_n_steps=1", until="tune")
    (tune,) = [step for step in make_plan(load_config(path, quiet)) if step.stage == "tune"]
    directory = Store(path.parent / "outputs").path("tune", tune.key.fingerprint)
    checkpoint = torch.load(directory / SCRATCH / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert "hyper_parameters" not in checkpoint
    assert "datamodule_hyper_parameters" not in checkpoint

    monkeypatch.setenv("FORK_DIES_AT", "2")
    outcomes = run(path, *quiet, "tune.runtime.log_every_n_steps=3", until="tune")
    assert outcomes[-1].directory == directory
    rows = [line.split(",") for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    logged = [int(step) for step, key, _ in rows if key == "tune/train/loss"]
    assert logged == [1, 2, 3, 4, 6]  # every step, then the multiples of three
    assert not (directory / SCRATCH).exists()


@pytest.mark.slow
def test_bad_data_found_by_the_training_process_is_one_line(
    write_experiment: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_experiment())
    assert main(["prepare", path]) == 0
    capsys.readouterr()
    assert main(["tune", path, "tune.data.max_length=10"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("domino: ")
    assert "more than tune.data.max_length 10" in error
    assert "\n" not in error
    assert [each.name for each in (tmp_path / "outputs/stages/tune").glob("[!.]*")] == []


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_killed_training_takes_its_process_along_and_the_same_command_finishes(
    write_experiment: Write, fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_experiment({"tune": {"model": {"loss": FORK_LOSS}, "trainer": {"max_steps": 6}}}))
    assert main(["prepare", path]) == 0
    (digest,) = [step.key.fingerprint for step in make_plan(load_config(path)) if step.stage == "tune"]
    directory = Path(path).parent / "outputs/stages/tune" / digest
    parent = subprocess.Popen(
        [sys.executable, "-m", "domino_lightning", "tune", path],
        env={**os.environ, "FORK_SLEEP": "0.5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: parent.poll() is not None or (directory / SCRATCH / "last.ckpt").exists())
    (child,) = children(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(child), seconds=20)
    assert not (directory / MANIFEST).exists()

    capsys.readouterr()
    assert main(["tune", path]) == 0
    assert f"{digest}  continuing" in capsys.readouterr().out
    rows = [line.split(",") for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(step) for step, key, _ in rows if key == "tune/train/loss"] == list(range(1, 7))
    Store(Path(path).parent / "outputs").verified("tune", digest)
