"""Places of the local launcher: what each stage is given, and what never fits. Processes are stand-ins."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.stages import stage_class
from domino_lightning.store.store import Store
from domino_lightning.sweep import LocalLauncher, Place, Task
from domino_lightning.sweep.graph import make_graph
from domino_lightning.sweep.launchers.local import ATTEMPT, free_port, last_line, visible_gpus
from tests.sweep.conftest import Load

GPU = {"tune.trainer.accelerator": "gpu", "finetune.trainer.accelerator": "gpu"}


class StandIn:
    """In place of a process: remembers its environment, ends when told."""

    started: list[StandIn] = []

    def __init__(self, store: Store, step: Any, tracking: Tracking, **options: Any) -> None:
        self.stage, self.environment = step.stage, options["environment"]
        self.over, self.rss_mb, self.fds, self.received = False, 9, [], []
        StandIn.started.append(self)

    def poll(self) -> tuple[list[dict[str, Any]], bool]:
        return [], self.over

    def ended(self) -> dict[str, Any]:
        return {"event": "finished", "ran": True, "wall_s": 1.0}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    monkeypatch.setattr("domino_lightning.sweep.launchers.local.Child", StandIn)
    monkeypatch.setattr("domino_lightning.sweep.launchers.local.wait_for_news", lambda children, seconds: None)
    monkeypatch.setattr(StandIn, "started", [])
    return StandIn.started


@pytest.fixture
def tasks(load: Load, tmp_path: Path) -> Callable[..., dict[str, Task]]:
    """`tasks({...})`: the tasks of one trial of a sweep with these keys set, by stage."""

    def make(keys: Mapping[str, Any]) -> dict[str, Task]:
        sweep = load({"set": dict(keys)})
        nodes = make_graph(sweep).nodes.values()
        store = Store(sweep.root)
        return {
            (stage := node.planned.stage): Task(node.planned, node.config, store, Tracking(), tmp_path / "logs" / stage)
            for node in nodes
        }

    return make


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))


def test_slots_share_the_cores_evenly(
    tasks: Callable[..., dict[str, Task]], started: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 8)
    each, launcher = tasks({}), LocalLauncher(slots=2, gpus=[])
    assert launcher.start(each["tune"]) is not None
    assert launcher.start(each["finetune"]) is not None
    assert launcher.start(each["evaluate"]) is None
    for child in started:
        assert child.environment["OMP_NUM_THREADS"] == child.environment["MKL_NUM_THREADS"] == "4"
        assert "CUDA_VISIBLE_DEVICES" not in child.environment
    assert len({child.environment["MASTER_PORT"] for child in started}) == 2
    started[0].over = True
    (report,) = launcher.poll(0)
    assert report.task is each["tune"]
    assert report.event == {"event": "finished", "ran": True, "wall_s": 1.0, "rss_mb": 9}
    assert launcher.start(each["evaluate"]) is not None


def test_by_default_there_is_a_slot_for_every_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, slots, threads in ((1, 1, 1), (2, 1, 2), (8, 4, 2)):
        cores(monkeypatch, count)
        launcher = LocalLauncher(gpus=[])
        assert (launcher.slots, launcher.threads) == (slots, threads)


def test_beside_accelerators_every_stage_is_left_four_cores_where_there_are_that_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count, gpus, slots, threads in ((64, 8, 16, 4), (16, 1, 4, 4), (128, 4, 32, 4), (8, 8, 9, 1), (2, 1, 2, 1)):
        cores(monkeypatch, count)
        launcher = LocalLauncher(gpus=list(range(gpus)))
        assert (launcher.slots, launcher.threads) == (slots, threads), (count, gpus)


def test_a_solver_that_the_domain_does_not_need_asks_for_no_accelerator() -> None:
    solver = {"backbone": "x/y"}
    for domain, devices in (("CodeExec", 0), ("CodeGen", 1)):
        path = f"domino_lightning.domains.{domain}"
        for node in (path, {"class_path": path}):
            assert stage_class("answer").devices({"domain": node, "solver": solver}) == devices
            assert stage_class("answer").devices({"domain": node}) == 0


def test_ranks_on_the_cpu_take_a_slot_each(
    tasks: Callable[..., dict[str, Task]], started: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 4)
    each, launcher = tasks({"tune.trainer.devices": 3}), LocalLauncher(slots=4, gpus=[])
    assert launcher.start(each["tune"]) == Place("slot 0, slot 1, slot 2", pytest.approx(0, abs=60))
    assert started[0].environment["OMP_NUM_THREADS"] == "1"
    assert launcher.start(each["evaluate"]) is not None
    assert launcher.start(each["prepare"]) is None
    with pytest.raises(UserError, match=r"stage tune \w+ needs 3 slots, and the launcher has 2.*slots"):
        LocalLauncher(slots=2, gpus=[]).check(list(each.values()))


def test_every_stage_is_given_accelerators_of_its_own(
    tasks: Callable[..., dict[str, Task]], started: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 12)
    each = tasks({**GPU, "tune.trainer.devices": 2})
    launcher = LocalLauncher(slots=1, gpus=[0, 2, 5])
    assert launcher.slots == 4
    assert launcher.start(each["tune"]) is not None
    assert launcher.start(each["evaluate"]) is not None
    assert launcher.start(each["synthesize"]) is None  # all three are taken
    assert launcher.start(each["curate"]) is not None  # needs none
    assert launcher.start(each["prepare"]) is None
    assert [child.environment["CUDA_VISIBLE_DEVICES"] for child in started] == ["0,2", "5", ""]
    assert started[0].environment["OMP_NUM_THREADS"] == "3"
    started[0].over = True
    launcher.poll(0)
    assert launcher.start(each["synthesize"]) is not None
    assert started[-1].environment["CUDA_VISIBLE_DEVICES"] == "0"
    with pytest.raises(UserError, match=r"needs 2 accelerators, and the launcher has 1.*gpus"):
        LocalLauncher(gpus=[0]).check([each["tune"]])


def test_stages_share_an_accelerator_where_they_are_told_to_and_none_is_given_two_shares_of_one(
    tasks: Callable[..., dict[str, Task]], started: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 16)
    each = tasks({**GPU, "tune.trainer.devices": 2})
    launcher = LocalLauncher(slots=2, gpus=[0, 3], stages_per_gpu=2)
    assert (launcher.slots, launcher.threads) == (6, 2)
    places = [launcher.start(each[name]) for name in ("tune", "evaluate", "synthesize")]
    assert [child.environment["CUDA_VISIBLE_DEVICES"] for child in started[:1]] == ["0,3"]
    assert sorted(child.environment["CUDA_VISIBLE_DEVICES"] for child in started[1:]) == ["0", "3"]
    assert None not in places and launcher.start(each["finetune"]) is None
    with pytest.raises(UserError, match="stages_per_gpu: 0"):
        LocalLauncher(gpus=[0], stages_per_gpu=0)
    with pytest.raises(UserError, match=r"needs 2 accelerators, and the launcher has 1.*gpus"):
        LocalLauncher(gpus=[0], stages_per_gpu=4).check([each["tune"]])


def test_training_on_the_cpu_takes_no_accelerator(
    tasks: Callable[..., dict[str, Task]], started: list[StandIn]
) -> None:
    launcher = LocalLauncher(slots=1, gpus=[0])
    assert launcher.start(tasks({"tune.trainer.accelerator": "cpu"})["tune"]) is not None
    assert started[0].environment["CUDA_VISIBLE_DEVICES"] == ""


def test_visible_gpus_are_those_that_the_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_gpus() == ["1", "3"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []


def test_a_free_port_is_neither_listened_on_nor_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        ports = [number, 1500, 15001]
        monkeypatch.setattr("domino_lightning.sweep.launchers.local.random.sample", lambda *_: ports)
        monkeypatch.setattr("domino_lightning.sweep.launchers.local.PORTS", range(1))
        assert free_port({1500}) == 15001


def test_the_last_line_of_a_log_is_what_a_terminal_would_show(tmp_path: Path) -> None:
    class Stub:
        log = tmp_path / "log"

    assert last_line(Stub) == ""  # type: ignore[arg-type]
    Stub.log.write_text("first\ntune:  10%|#\rtune:  20%|##\n")
    assert last_line(Stub) == "tune:  20%|##"  # type: ignore[arg-type]


def test_the_last_line_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path) -> None:
    class Stub:
        log = tmp_path / "log"

    Stub.log.write_text(f"ValueError: the old error\n\n{ATTEMPT} 2026-01-01T00:00:00.000Z\n")
    assert last_line(Stub) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("slots", [0, -1])
def test_slots_below_one_are_refused(slots: int) -> None:
    with pytest.raises(UserError, match=r"launcher\.init_args\.slots"):
        LocalLauncher(slots=slots)
