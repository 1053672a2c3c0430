"""A stage as a process of its own: what it tells, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.runner.child import Child, run_apart
from domino_lightning.runner.job import without_ranks
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.runner.planned import PlannedStage
from domino_lightning.store.store import Store
from tests.conftest import is_running, wait_until

Write = Callable[..., Path]
Node = Callable[..., dict[str, Any]]
Prepared = Callable[..., tuple[Store, PlannedStage]]


@pytest.fixture
def prepared(write_experiment: Write, scripted: Node) -> Prepared:
    """`prepared("sleep")`: a store with a finished `prepare`, and the `synthesize` planned that reads it."""

    def prepare(does: str = "") -> tuple[Store, PlannedStage]:
        config = load_config(write_experiment({"synthesize": {"generator": scripted(does)}}))
        plan = make_plan(config, "synthesize")
        run_plan(config, plan[:1], "trial", [])
        return Store(config.document["root"]), plan[-1]

    return prepare


def run(store: Store, planned: PlannedStage, **options: Any) -> Child:
    child = Child(store, planned, Tracking(), **options)
    for _ in child.messages():
        pass
    return child


def test_a_stage_tells_that_it_begins_and_that_it_has_finished(prepared: Prepared) -> None:
    store, planned = prepared()
    child = run(store, planned)
    assert [message["event"] for message in child.received] == ["announce", "begun", "finished"]
    assert child.ended()["ran"]
    assert child.rss_mb > 10
    assert store.finished(*planned.id)
    assert not run(store, planned).ended()["ran"]


@pytest.mark.parametrize(
    ("does", "how", "said"),
    [
        ("raise", "error", "stage synthesize: RuntimeError: the generator is out of ideas"),
        ("memory", "memory", "stage synthesize: out of memory (MemoryError)"),
        ("kill", "signal", "stage synthesize was killed by signal 9: out of memory, or killed by hand; it held"),
        ("exit", "error", "stage synthesize ended with exit code 7 before it finished"),
    ],
)
def test_how_a_stage_failed_is_told(prepared: Prepared, does: str, how: str, said: str) -> None:
    store, planned = prepared(does)
    ended = run(store, planned).ended()
    assert (ended["event"], ended["how"]) == ("failed", how)
    assert ended["error"].startswith(said)
    assert not store.finished(*planned.id)
    with pytest.raises(StageFailed, match=said[:30]):
        run_apart(store, planned, Tracking())


def test_bad_input_is_told_as_such_and_leaves_nothing(prepared: Prepared, write_experiment: Write) -> None:
    store, _ = prepared()
    planned = make_plan(load_config(write_experiment({"prepare": {"split": {"reference": 100}}})))[0]
    with pytest.raises(UserError, match="reference"):
        run_apart(store, planned, Tracking())
    assert not store.path(*planned.id).exists()


def test_a_stage_that_another_process_holds_is_busy_unless_it_is_waited_for(prepared: Prepared) -> None:
    store, planned = prepared()
    with store.lock(*planned.id):
        assert store.busy(*planned.id)
        assert run(store, planned, wait=False).ended() == {"event": "busy"}
        waiting = Child(store, planned, Tracking())
    for _ in waiting.messages():
        pass
    assert waiting.ended()["ran"]
    assert not store.busy(*planned.id)


def test_stopping_ends_a_stage_and_all_that_it_started(prepared: Prepared, tmp_path: Path) -> None:
    store, planned = prepared("stubborn")
    child = Child(store, planned, Tracking())
    wait_until((tmp_path / "grandchild.txt").exists)
    wait_until(lambda: (tmp_path / "grandchild.txt").read_text())
    grandchild = int((tmp_path / "grandchild.txt").read_text())
    assert is_running(grandchild)
    child.stop(grace_s=0.2)
    assert not is_running(child.process.pid)
    wait_until(lambda: not is_running(grandchild))


def test_an_interrupted_stage_says_so(prepared: Prepared, tmp_path: Path) -> None:
    store, planned = prepared("sleep")
    child = Child(store, planned, Tracking())
    wait_until((tmp_path / "calls.txt").exists)
    child.stop()
    assert child.ended()["how"] == "interrupted"
    assert child.process.returncode == 130  # it ended by itself


def test_what_a_killed_stage_had_started_does_not_outlive_it(prepared: Prepared, tmp_path: Path) -> None:
    store, planned = prepared("stubborn")
    child = Child(store, planned, Tracking())
    wait_until((tmp_path / "grandchild.txt").exists)
    wait_until(lambda: (tmp_path / "grandchild.txt").read_text())
    os.kill(child.process.pid, signal.SIGKILL)
    for _ in child.messages():
        pass
    assert "signal 9" in child.ended()["error"]
    wait_until(lambda: not is_running(int((tmp_path / "grandchild.txt").read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_stage_whose_parent_died_before_it_looked_ends_itself(prepared: Prepared) -> None:
    store, planned = prepared()
    job = store.path(*planned.id).with_name(f".{planned.key.fingerprint}.job.json")
    run(store, planned)
    command = [sys.executable, "-m", "domino_lightning.runner.process", str(job)]
    environment = {**os.environ, "DOMINO_PARENT": str(2**22)}  # beyond the largest process id
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL


def test_a_stage_process_does_not_take_itself_for_a_rank_of_an_allocation() -> None:
    ours = {"PATH": "/bin", "HOME": "/h", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "4", "PMIND": "x"}
    theirs = ["SLURM_NTASKS", "SLURM_JOB_ID", "SBATCH_X", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "RANK"]
    theirs += ["LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"]
    assert without_ranks(ours | dict.fromkeys(theirs, "1")) == ours
