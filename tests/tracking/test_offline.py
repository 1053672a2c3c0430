"""Offline W&B files: read back whole or cut off, uploaded through wandb's own command, lineage attached once."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.tracking import offline as wandb_offline
from domino_lightning.tracking.offline import offline_runs, read_offline_run, sync
from domino_lightning.tracking.wandb import start_run
from tests.conftest import finished_offline_runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two offline runs, of which the second reads an artifact of the first."""
    tracking = Tracking("offline", "tests", entity="team", group="sweep", root=str(tmp_path))
    for stage, lineage in (("prepare", []), ("tune", ["prepare-aa"])):
        run = start_run(tracking, f"{stage}-id", stage, stage, {"lineage": lineage})
        run.log({"tune/train/loss": 2.0, "big": "x" * 70_000})  # longer than two blocks of the file
        run.log({"tune/train/loss": 1.0})
        run.summary["final"] = 3
        run.finish()
    finished_offline_runs(tmp_path, 2)
    return tmp_path


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)


class Server:
    """Stands for `wandb sync` and for the public API."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.used: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.artifacts = {"team/tests/prepare-aa:latest"}
        monkeypatch.setattr(wandb_offline.subprocess, "run", self.upload)
        monkeypatch.setattr("wandb.Api", lambda: self)

    def upload(self, command: list[str], check: bool) -> None:
        assert command[1:4] == ["-m", "wandb", "sync"]
        self.commands.append(command[4:])
        for path in (path for folder in command[4:] for path in Path(folder).glob("*.wandb")):
            if read_offline_run(path).run_id not in self.refused:
                path.with_name(path.name + ".synced").touch()

    def run(self, path: str) -> Any:
        server = self

        class Run:
            def use_artifact(self, name: str) -> None:
                server.used.append((path, name))

        return Run()

    def artifact(self, name: str) -> str:
        import wandb

        if name not in self.artifacts:
            raise wandb.CommError("not found")
        return name


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, key: None) -> Server:
    return Server(monkeypatch)


def test_a_run_is_read_back(root: Path) -> None:
    first, second = map(read_offline_run, offline_runs(root))
    assert (first.run_id, first.project, first.entity, first.group, first.job_type) == (
        "prepare-id",
        "tests",
        "team",
        "sweep",
        "prepare",
    )
    assert second.config["lineage"] == ["prepare-aa"]
    assert second.summary["final"] == 3
    assert second.history["tune/train/loss"] == [2.0, 1.0]
    assert second.history["big"] == ["x" * 70_000]
    assert second.exit_code == 0


def test_a_file_cut_off_by_a_kill_is_read_as_far_as_it_goes(root: Path) -> None:
    path = offline_runs(root)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # inside the record of 70,000 characters
    run = read_offline_run(path)
    assert run.config["lineage"] == ["prepare-aa"]
    assert run.exit_code is None
    assert "big" not in run.history


def test_sync_uploads_then_attaches_what_each_run_read(root: Path, server: Server) -> None:
    assert sync(root) == (2, 1)
    assert server.commands == [[str(path.parent) for path in offline_runs(root)]]
    assert server.used == [("team/tests/tune-id", "team/tests/prepare-aa:latest")]


def test_a_second_sync_repeats_nothing(root: Path, server: Server) -> None:
    sync(root)
    server.commands, server.used = [], []
    assert sync(root) == (0, 0)
    assert (server.commands, server.used) == ([], [])


def test_a_run_left_behind_is_named_and_the_same_command_continues(root: Path, server: Server) -> None:
    server.refused = {"tune-id"}
    with pytest.raises(StageFailed, match=r"1 of 2 runs uploaded.*tune-id"):
        sync(root)
    assert server.used == []  # a run that is not on the server has no lineage there
    server.refused = set()
    assert sync(root) == (1, 1)


def test_a_missing_artifact_is_named_and_tried_again(root: Path, server: Server) -> None:
    server.artifacts = set()
    with pytest.raises(StageFailed, match="prepare-aa"):
        sync(root)
    server.artifacts = {"team/tests/prepare-aa:latest"}
    assert sync(root) == (0, 1)


def test_without_a_key_the_command_says_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb_offline, "has_api_key", lambda: False)
    assert main(["wandb-sync", "--root", str(root)]) == 2
    message = capsys.readouterr().err
    assert "2 runs to upload" in message
    assert "WANDB_API_KEY" in message and "wandb login" in message


def test_a_store_without_offline_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no offline W&B runs"):
        sync(tmp_path)


class Refusing(BaseHTTPRequestHandler):
    """A W&B server that knows no key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b'{"errors": [{"message": "who are you"}]}')

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_refuses_leaves_the_runs_where_they_are(
    root: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb's own command, for real."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(StageFailed, match="0 of 2 runs uploaded"):
            sync(root)
        server.shutdown()
    assert len(offline_runs(root)) == 2
