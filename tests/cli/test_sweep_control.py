"""Ending a sweep from outside, running it in the background, reading what its stages print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli import sweep_control
from domino_lightning.cli.main import main
from domino_lightning.store.locks import LOCK, held
from domino_lightning.sweep import load_sweep
from tests.conftest import refused

REPLAY = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}
WriteSweep = Callable[..., Path]


@pytest.fixture
def done(write_sweep: WriteSweep) -> Path:
    """A sweep up to `prepare` that has run in this process."""
    launcher = {"class_path": "domino_lightning.sweep.InProcessLauncher"}
    path = write_sweep({"until": "prepare", "launcher": launcher}, REPLAY)
    assert main(["sweep", str(path)]) == 0
    return path


def test_what_stages_printed_is_shown_by_name_or_by_fingerprint(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = load_sweep(done).folder
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs/prepare-aaaa.log").write_text("from here\n")
    attempt = folder / "attempts/tune-bbbb/0001"
    attempt.mkdir(parents=True)
    for name in ("log", "log.1"):
        (attempt / name).write_text(f"{name} of an attempt\n")
    capsys.readouterr()
    for asked, shown in (("prepare", ["from here"]), ("tune-bbbb", ["log of an attempt", "log.1 of an attempt"])):
        assert main(["sweep", str(done), "--logs", asked]) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if not line.startswith("== ")] == shown
    assert "There are logs of: prepare, tune" in refused_logs(done, capsys)


def refused_logs(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    return refused(capsys, "sweep", path, "--logs", "answer")


def test_a_cancelled_sweep_is_continued_by_the_same_command(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = load_sweep(done).folder
    assert main(["sweep", str(done), "--cancel"]) == 0
    assert (folder / sweep_control.CANCEL).exists()
    assert main(["sweep", str(done)]) == 0
    assert not (folder / sweep_control.CANCEL).exists()


def test_what_was_never_launched_cannot_be_cancelled(
    write_sweep: WriteSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has not been launched" in refused(capsys, "sweep", write_sweep({"until": "prepare"}, REPLAY), "--cancel")


def test_a_sweep_that_runs_is_not_started_in_the_background_again(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(load_sweep(done).folder / LOCK, "this sweep"):
        assert "running this sweep already" in refused(capsys, "sweep", done, "--detach")


def test_in_the_background_the_same_command_runs_without_the_flag(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []

    class StandIn:
        pid = 7

        def __init__(self, command: list[str], **options: object) -> None:
            assert options["start_new_session"]
            started.append(command)

    monkeypatch.setattr("domino_lightning.cli.sweep_control.subprocess.Popen", StandIn)
    monkeypatch.setattr("sys.argv", ["domino", "sweep", str(done), "--detach", "seeds=[0]"])
    assert main(["sweep", str(done), "--detach", "seeds=[0]"]) == 0
    assert started[0][1:] == ["-m", "domino_lightning", "sweep", str(done), "seeds=[0]"]
    assert "process 7 runs mine" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_machines_that_are_not_there_are_refused_with_the_remedy(
    write_experiment: Callable[..., Path], write_sweep: WriteSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = {"tune": {"trainer": {"num_nodes": 2}, "data": {"batch_size": 2}}}
    for command in (("run", "--until", "tune"), ("check",)):  # what `run` refuses, `check` tells before
        said = refused(capsys, command[0], write_experiment(wide), *command[1:])
        assert "key 'tune.trainer.num_nodes': 2 machines" in said
        assert "SlurmLauncher" in said
    path = write_sweep({"until": "tune"}, wide)
    said = refused(capsys, "sweep", path)
    assert "tune.trainer.num_nodes: 2 machines, and the LocalLauncher has this one" in said
