"""Sweeps as real processes that are killed, starved, started twice and interrupted: nothing finished is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.sweep import load_sweep
from domino_lightning.sweep.events import EVENTS, read_events
from tests.conftest import is_running, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc"),
]

Node = Callable[..., dict[str, Any]]
BLOCKS = 2  # calls of a generator: 8 candidates in blocks of 4


class Sweeps:
    """Starts `domino sweep FILE` as users do, and knows what it left."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, path: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "domino_lightning", "sweep", str(path or self.path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            **options,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    @property
    def events(self) -> list[dict[str, Any]]:
        return read_events(load_sweep(self.path).folder / EVENTS)

    def of(self, name: str, stage: str = "synthesize") -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name and event.get("stage") == stage]

    def calls(self) -> list[list[str]]:
        """Label, seed and process of every call of a generator."""
        path = self.folder / "calls.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def statuses(self) -> dict[str, str]:
        folder = load_sweep(self.path).root / "runs/mine"
        records = [json.loads((each / "trial.json").read_text()) for each in folder.iterdir()]
        return {record["axes"]["arm"]: record["status"] for record in records}


@pytest.fixture
def sweeps(write_sweep: Callable[..., Path], scripted: Node) -> Iterator[Callable[..., Sweeps]]:
    """`sweeps({"good": "", "bad": "raise"})`: a sweep whose arms' generators do so, up to `curate`, in two slots."""
    made: list[Sweeps] = []

    def make(arms: dict[str, str], **keys: Any) -> Sweeps:
        values = {label: scripted(does, label=label) for label, does in arms.items()}
        axes = {"arm": {"key": "synthesize.generator", "values": values}}
        launcher = {"init_args": {"slots": 2, "gpus": []}}
        tree = {"axes": axes, "until": "curate", "launcher": launcher, **keys}
        made.append(Sweeps(write_sweep(tree)))
        return made[-1]

    yield make
    for process in [process for each in made for process in each.processes]:
        if process.poll() is None:
            process.kill()
            process.wait()


def stage_processes(launcher: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


def test_a_killed_launcher_takes_its_stages_along_and_the_same_command_continues(
    sweeps: Callable[..., Sweeps],
) -> None:
    sweep = sweeps({"one": "wait", "two": "wait"})
    launcher = sweep.start()
    wait_until(lambda: len(sweep.calls()) == 2)
    children = stage_processes(launcher.pid)
    assert len(children) == 2
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(map(is_running, children)))
    code, out, _ = sweep.run("--status")
    assert code == 0
    assert "not running; its last run: interrupted" in out

    (sweep.folder / "go").touch()
    assert sweep.run()[0] == 0
    assert sweep.statuses() == {"one": "finished", "two": "finished"}
    assert len(sweep.of("started", "prepare")) == 1
    assert len(sweep.of("finished")) == 2
    before = len(sweep.calls())
    assert sweep.run()[0] == 0
    assert len(sweep.calls()) == before


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("kill", "killed by signal 9: out of memory, or killed by hand"),
        ("memory", "out of memory (MemoryError)"),
        ("raise", "RuntimeError: the generator is out of ideas"),
    ],
)
def test_a_failed_stage_is_shown_and_fails_no_other_trial(sweeps: Callable[..., Sweeps], does: str, said: str) -> None:
    sweep = sweeps({"bad": does, "good": ""})
    code, out, _ = sweep.run()
    assert code == 1
    assert [said in line for line in out.splitlines() if line.startswith("failed: ")] == [True]
    assert "--retry-failed starts failed stages again" in out.splitlines()[-2]
    assert sweep.statuses() == {"bad": "failed", "good": "finished"}
    assert said in sweep.of("failed")[0]["error"]
    code, out, _ = sweep.run("--status")
    assert code == 1
    assert said in out

    before = len(sweep.calls())
    code, out, _ = sweep.run()
    assert code == 1
    assert "1 stages failed in an earlier run and are not tried again; --retry-failed does" in out
    assert len(sweep.calls()) == before
    (sweep.folder / "mended").touch()
    assert sweep.run("--retry-failed")[0] == 0
    assert sweep.statuses() == {"bad": "finished", "good": "finished"}
    assert [call[0] for call in sweep.calls()].count("good") == BLOCKS


def test_interrupting_the_launcher_stops_every_process(sweeps: Callable[..., Sweeps]) -> None:
    sweep = sweeps({"one": "stubborn", "two": "sleep"})
    launcher = sweep.start()
    wait_until(lambda: len(sweep.calls()) == 2 and (sweep.folder / "grandchild.txt").exists())
    wait_until(lambda: (sweep.folder / "grandchild.txt").read_text())
    processes = [*stage_processes(launcher.pid), int((sweep.folder / "grandchild.txt").read_text())]
    launcher.send_signal(signal.SIGINT)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "the same command continues" in err
    wait_until(lambda: not any(map(is_running, processes)), seconds=10)
    assert sweep.events[-1]["status"] == "interrupted"
    assert sweep.statuses() == {"one": "interrupted", "two": "interrupted"}
    (sweep.folder / "mended").touch()
    assert sweep.run()[0] == 0  # an interruption is no failure


def test_the_same_sweep_started_twice_says_who_runs_it(sweeps: Callable[..., Sweeps]) -> None:
    sweep = sweeps({"one": "wait"})
    launcher = sweep.start()
    wait_until(lambda: sweep.calls())
    code, _, err = sweep.run()
    assert code == 2
    assert f"process {launcher.pid}" in err
    assert "is running this sweep" in err
    code, out, _ = sweep.run("--status")
    assert code == 0
    assert f"running since {sweep.events[0]['time']}, process {launcher.pid}" in out
    assert "runs" in out
    (sweep.folder / "go").touch()
    launcher.communicate(timeout=120)
    assert launcher.returncode == 0
    assert len(sweep.calls()) == BLOCKS


def test_two_sweeps_of_one_store_run_what_they_share_once(sweeps: Callable[..., Sweeps]) -> None:
    sweep = sweeps({"shared": "wait", "also": ""})
    other = sweep.folder / "other.yaml"
    other.write_text(sweep.path.read_text())
    first, second = sweep.start(), sweep.start(path=other)
    folder = load_sweep(other).folder
    wait_until(lambda: sweep.calls() and len(sweep.of("launched", "")) == 0 and (folder / EVENTS).exists())
    wait_until(lambda: any(event["event"] == "waiting" for event in [*sweep.events, *read_events(folder / EVENTS)]))
    (sweep.folder / "go").touch()
    for process in (first, second):
        process.communicate(timeout=120)
        assert process.returncode == 0
    labels = [call[0] for call in sweep.calls()]
    assert labels.count("shared") == labels.count("also") == BLOCKS
    finished = [event for event in [*sweep.events, *read_events(folder / EVENTS)] if event["event"] == "finished"]
    ran = [(event["stage"], event["fingerprint"]) for event in finished if event["how"] == "ran"]
    assert len(ran) == len(set(ran)) == 5  # prepare, and synthesize and curate of two arms


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_stage_that_cannot_write_fails_alone(sweeps: Callable[..., Sweeps]) -> None:
    sweep = sweeps({"bad": "big", "good": ""})
    code, out, _ = sweep.run(preexec_fn=limited(100_000))
    assert code == 1
    assert "File too large" in out
    assert sweep.statuses() == {"bad": "failed", "good": "finished"}
    assert sweep.run("--retry-failed")[0] == 0


def test_a_full_disk_under_the_event_log_stops_the_sweep_and_loses_nothing(sweeps: Callable[..., Sweeps]) -> None:
    sweep = sweeps({"one": "", "two": "wait"})
    launcher = sweep.start()
    wait_until(lambda: len(sweep.of("finished")) == 1)
    launcher.kill()
    launcher.wait()
    log = load_sweep(sweep.path).folder / EVENTS
    log.rename(log.with_name("kept"))
    log.symlink_to("/dev/full")
    code, _, err = sweep.run()
    assert code == 1
    assert "No space left on device" in err
    assert "give the same command again" in err
    assert "Traceback" not in err
    log.unlink()
    log.with_name("kept").rename(log)
    (sweep.folder / "go").touch()
    assert sweep.run()[0] == 0
    assert sweep.statuses() == {"one": "finished", "two": "finished"}
    assert [call[0] for call in sweep.calls()].count("one") == BLOCKS


KILLED_RANK = """
import os, signal
from lightning.pytorch import Callback

class KillRank(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 1 and not os.path.exists("mended"):
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.ddp
def test_a_killed_rank_fails_its_trial_whole_and_no_other(write_sweep: Callable[..., Path], scripted: Node) -> None:
    scripted()  # for its directory on PYTHONPATH
    tune = {"trainer": {"devices": 2, "accelerator": "cpu", "strategy": "ddp", "callbacks": []}}
    values: dict[str, Sequence[Any]] = {"kill": [{"class_path": "kill_rank.KillRank"}], "whole": []}
    axes = {"arm": {"key": "tune.trainer.callbacks", "values": values}}
    launcher = {"init_args": {"slots": 4, "gpus": []}}
    path = write_sweep({"axes": axes, "until": "tune", "launcher": launcher}, {"tune": tune})
    (path.parent / "fork" / "kill_rank.py").write_text(KILLED_RANK)
    sweep = Sweeps(path)
    code, out, _ = sweep.run()
    assert code == 1, out
    assert sweep.statuses() == {"kill": "failed", "whole": "finished"}
    assert sweep.of("failed", "tune")[0]["error"]
    assert not leftovers(path.parent)
    (path.parent / "mended").touch()
    assert sweep.run("--retry-failed")[0] == 0
    assert sweep.statuses() == {"kill": "finished", "whole": "finished"}


def leftovers(folder: Path) -> list[str]:
    """Command lines of stage processes of a store in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "stages.process" in command and str(folder) in command and int(path.parent.name) != os.getpid():
            found.append(command)
    return found
