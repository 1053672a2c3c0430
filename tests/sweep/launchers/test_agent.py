"""Agents as processes: what they run, when they leave, and what they refuse; the stages are light."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import UserError
from domino_lightning.sweep.launchers.cluster import agent as agents
from domino_lightning.sweep.launchers.cluster import ranks
from domino_lightning.sweep.launchers.cluster.agent import Agent, main
from domino_lightning.sweep.launchers.cluster.mailbox import BYE, DRAIN, HELLO, TOKEN, Attempt, Mailbox, put, read_json

RECORD: dict[str, Any] = {
    "name": "cpu", "shape": "x", "seconds": None, "idle": 0.2, "beat_s": 0.01, "cwd": os.getcwd(),
    "pool": {"nodes": 1, "cpus": 4, "gpus": 0, "grace": 1, "max_stages": None},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(agents, "TICK_S", 0.01)
    monkeypatch.setattr(agents, "VISIBLE_S", 0.05)
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def pilot(tmp_path: Path) -> Callable[..., Path]:
    def make(**changes: Any) -> Path:
        return Mailbox(tmp_path / "sweeps/mine").open_pilot("domino-mine-cpu-0", {**RECORD, **changes})

    return make


def test_an_agent_says_hello_with_the_launchers_token_and_leaves_when_there_is_nothing_to_do(
    pilot: Callable[..., Path],
) -> None:
    folder = pilot()
    assert main(folder, 0) == 0
    hello = read_json(folder / "nodes/0" / HELLO) or {}
    assert hello["token"] == (folder / TOKEN).read_text()
    assert (folder / BYE).exists()
    assert int((folder / "nodes/0/beat").read_text()) >= 1


def test_a_pilot_that_is_queued_again_does_nothing(
    pilot: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pilot()
    main(folder, 0)
    assert main(folder, 0) == 0
    assert "ran before" in capsys.readouterr().err


def test_a_file_system_that_is_not_the_launchers_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"launcher's file 'token' is not seen.*same path.*container"):
        Agent(tmp_path / "sweeps/mine/agents/other", 0)


def test_a_file_system_that_cannot_publish_safely_is_refused(
    pilot: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "rename_is_exclusive", lambda folder: False)
    with pytest.raises(UserError, match="two attempts at a stage could overwrite each other"):
        Agent(pilot(), 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_an_agent_that_is_told_to_go_takes_nothing_more_and_tells_its_other_nodes(
    pilot: Callable[..., Path], number: signal.Signals, tmp_path: Path
) -> None:
    folder = pilot(idle=600)
    agent = Agent(folder, 0)
    signal.signal(number, agent.drain)
    attempt = Attempt(tmp_path / "attempts/tune-f/0001")
    put(attempt.path / "ticket")
    agent.mailbox.offer(attempt, folder.name)
    os.kill(os.getpid(), number)
    agent.run()
    assert (folder / DRAIN).exists()
    assert attempt.claimed_by() == ""
    assert attempt.withdraw()


def test_an_agent_near_the_end_of_its_time_leaves(pilot: Callable[..., Path]) -> None:
    folder = pilot(seconds=1, idle=600)
    Agent(folder, 0).run()
    assert (read_json(folder / "nodes/0" / BYE) or {})["draining"]


def test_an_attempt_is_claimed_once_or_withdrawn(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "tune-f/0001")
    put(attempt.path / "ticket")
    assert attempt.claim("a")
    assert not attempt.claim("b")
    assert not attempt.withdraw()
    assert attempt.claimed_by() == "a"
    assert attempt.end() is None


def test_a_report_that_is_half_there_is_read_when_it_is_whole(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "tune-f/0001")
    attempt.path.mkdir(parents=True)
    attempt.report({"event": "started"})
    with open(attempt.path / "report.jsonl", "a") as file:
        file.write('{"event": "beg')
    records, offset = attempt.reports(0)
    assert records == [{"event": "started"}]
    with open(attempt.path / "report.jsonl", "a") as file:
        file.write('un"}\n')
    assert attempt.reports(offset)[0] == [{"event": "begun"}]


def test_ranks_are_numbered_over_nodes_and_a_stage_alone_has_none() -> None:
    joint = {"nodes": 2, "ranks": 2, "address": "10.0.0.7", "port": 1234, "id": "tune-f-0001"}
    variables = ranks.environment(8, 0, joint, node=1, local=1)
    numbers = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    assert numbers.items() <= variables.items()
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("10.0.0.7", "1234")
    assert variables["OMP_NUM_THREADS"] == "4"
    assert variables["CUDA_VISIBLE_DEVICES"] == ""
    alone = ranks.environment(8, 1, {**joint, "nodes": 1, "ranks": 1}, node=0, local=0)
    assert "RANK" not in alone
    assert "TORCHELASTIC_RUN_ID" not in alone
    assert "CUDA_VISIBLE_DEVICES" not in alone
    assert alone["OMP_NUM_THREADS"] == "8"


def test_files_of_another_node_are_waited_for_until_they_are_whole(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("12345")
    assert ranks.wait_visible(tmp_path, {"last.ckpt": 5}, 0.0)
    assert not ranks.wait_visible(tmp_path, {"last.ckpt": 6}, 0.0)
    assert not ranks.wait_visible(tmp_path, {"best.ckpt": 5}, 0.0)
