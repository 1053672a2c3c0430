"""Offline W&B files: read back whole or cut off, uploaded through wandb's own command, lineage attached once."""

from __future__ import annotations

from dataclasses import replace
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
from domino_lightning.tracking.records import raw_records, write_records
from domino_lightning.tracking.tags import note_tags, open_tags
from domino_lightning.tracking.wandb import start_run
from tests.conftest import finished_offline_runs
from tests.tracking.test_wandb import local_paths
from tests.tracking.test_wandb_trouble import killed_twice


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
        self.tags: dict[str, list[str]] = {}
        self.read: list[bytes] = []
        self.artifacts = {"team/tests/prepare-aa:latest"}
        monkeypatch.setattr(wandb_offline.subprocess, "run", self.upload)
        monkeypatch.setattr("wandb.Api", lambda: self)

    def upload(self, command: list[str], check: bool) -> None:
        assert command[1:4] == ["-m", "wandb", "sync"]
        self.commands.append(command[4:])
        for path in (path for folder in command[4:] for path in Path(folder).glob("*.wandb")):
            self.read += [Path(entry).read_bytes() for entry in local_paths(path) if Path(entry).is_file()]
            if read_offline_run(path).run_id not in self.refused:
                path.with_name(path.name + ".synced").touch()

    def run(self, path: str) -> Any:
        server = self

        class Run:
            tags = server.tags.get(path, [])

            def use_artifact(self, name: str) -> None:
                server.used.append((path, name))

            def update(self) -> None:
                server.tags[path] = self.tags

        if path.rpartition("/")[2] in server.refused:
            import wandb

            raise wandb.CommError("no such run")
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


def test_a_run_that_was_killed_twice_is_uploaded_once_with_every_step_once(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    work = killed_twice(tmp_path)
    finished_offline_runs(tmp_path / "store", 1)
    server: Server = request.getfixturevalue("server")  # which stands in for programs that logging starts too
    assert sync(tmp_path / "store")[0] == 1
    ((folder,),) = server.commands
    (uploaded,) = Path(folder).glob("*.wandb")
    run = read_offline_run(uploaded)
    assert (run.run_id, run.history["_step"]) == (work.fingerprint, list(range(10)))
    assert run.history["trainer/global_step"] == list(range(10))


def test_a_second_sync_repeats_nothing(root: Path, server: Server) -> None:
    sync(root)
    server.commands, server.used = [], []
    assert sync(root) == (0, 0)
    assert (server.commands, server.used) == ([], [])


def test_a_later_sweep_s_tags_are_sent_once_and_wait_where_the_run_is_not_there(root: Path, server: Server) -> None:
    tracking = Tracking("offline", "tests", entity="team", root=str(root))
    note_tags(tracking, "tune-id", ["sweep:a", "arm:x"], begun=True)
    server.tags["team/tests/tune-id"] = ["sweep:a", "arm:x"]
    note_tags(tracking, "tune-id", ["sweep:b", "arm:x"])
    assert [path.stem for path in open_tags(root)] == ["tune-id"]
    sync(root)
    assert server.tags["team/tests/tune-id"] == ["sweep:a", "arm:x", "sweep:b"]
    server.tags.clear()
    assert sync(root) == (0, 0) and server.tags == {}
    note_tags(tracking, "gone-id", ["sweep:c"])
    server.refused = {"gone-id"}
    with pytest.raises(StageFailed, match="1 runs that later sweeps use are not on the server, the first: gone-id"):
        sync(root)


def test_a_store_that_was_moved_syncs_with_the_files_of_its_artifacts(tmp_path: Path, server: Server) -> None:
    import wandb

    old, new = tmp_path / "wandb" / "store", tmp_path / "elsewhere" / "store"  # a name of the store's above it
    stage = old / "stages" / "prepare" / "aa"
    stage.mkdir(parents=True)
    (stage / "reference.jsonl").write_text("whole\n")
    (stage / "gone.jsonl").write_text("removed\n")
    run = start_run(Tracking("offline", "tests", entity="team", root=str(old)), "prepare-id", "p", "prepare", {})
    run.log({"prepare/reference/samples": wandb.Table(columns=["text"], data=[["in a table"]])})
    artifact = wandb.Artifact("prepare-aa", type="corpus")
    for name in ("reference.jsonl", "gone.jsonl"):
        artifact.add_file(str(stage / name), policy="immutable")
    run.log_artifact(artifact)
    run.log({"big": "x" * 100_000})  # over several blocks of the file
    run.finish()
    finished_offline_runs(old, 1)
    new.parent.mkdir()
    old.rename(new)
    (new / "stages" / "prepare" / "aa" / "gone.jsonl").unlink()
    before = read_offline_run(offline_runs(new)[0])
    assert sync(new)[0] == 1
    assert b"whole\n" in server.read and any(b"in a table" in content for content in server.read)
    after = read_offline_run(offline_runs(new)[0])
    assert replace(after, path=before.path) == before  # nothing else in the file has changed


def test_a_file_is_written_as_wandb_wrote_it(root: Path) -> None:
    """Byte for byte: blocks, padding, checksums."""
    for path in offline_runs(root):
        whole = path.read_bytes()
        write_records(path, list(raw_records(path)))
        assert path.read_bytes() == whole


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
