"""The store: fingerprints, the manifest that makes a stage finished, the lock, the readable links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.store.store import MANIFEST, SCRATCH, StageKey, Store, fingerprint, safe_name, trial_name
from domino_lightning.utils.jsonl import sha256_file

BASE: dict[str, Any] = {
    "stage": "tune",
    "version": 1,
    "section": {"seed": 0, "model": {"lr": 1.0, "backbone": "here"}, "runtime": {"workers": 1}},
    "inputs": {"prepare": "aa"},
    "contents": {"model.backbone": "hash"},
    "sources": {"fork.Loss": "source"},
}


def test_fingerprint_is_stable_and_short() -> None:
    assert fingerprint(**BASE) == fingerprint(**json.loads(json.dumps(BASE)))
    assert len(fingerprint(**BASE)) == 16
    assert int(fingerprint(**BASE), 16) >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "finetune"},
        {"version": 2},
        {"section": {**BASE["section"], "seed": 1}},
        {"inputs": {"prepare": "bb"}},
        {"contents": {"model.backbone": "other"}},
        {"sources": {"fork.Loss": "edited"}},
        {"sources": {}},
    ],
)
def test_fingerprint_changes_with(change: dict[str, Any]) -> None:
    assert fingerprint(**{**BASE, **change}) != fingerprint(**BASE)


def test_fingerprint_ignores_runtime_and_where_content_lies() -> None:
    section = {**BASE["section"], "runtime": {"workers": 9}, "model": {"lr": 1.0, "backbone": "elsewhere"}}
    assert fingerprint(**{**BASE, "section": section}) == fingerprint(**BASE)


def test_content_named_inside_a_list_is_replaced_by_its_hash() -> None:
    def digest(path: str, content: str) -> str:
        section = {"filters": [{"class_path": "a"}, {"class_path": "b", "init_args": {"path": path}}]}
        contents = {"filters.1.init_args.path": content}
        return fingerprint(**{**BASE, "section": section, "contents": contents})

    assert digest("here", "hash") == digest("elsewhere", "hash")
    assert digest("here", "hash") != digest("here", "other")


def finished(store: Store, files: dict[str, str], stage: str = "prepare", digest: str = "aa") -> Path:
    folder = store.path(stage, digest)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    store.finish(StageKey(stage, digest, {}), 1, {"seed": 0}, wall_s=1.5)
    return folder


def test_only_a_manifest_makes_a_stage_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.path("prepare", "aa")
    folder.mkdir(parents=True)
    (folder / "reference.jsonl").write_text("{}")
    assert not store.finished("prepare", "aa")
    with pytest.raises(StageFailed, match="has not finished"):
        store.verified("prepare", "aa")
    finished(store, {"reference.jsonl": "{}"})
    assert store.finished("prepare", "aa")
    assert store.verified("prepare", "aa") == folder


def test_manifest_accounts_for_every_output_and_no_scratch(tmp_path: Path) -> None:
    files = {"a.txt": "abc", "model/w.bin": "w", f"{SCRATCH}/last.ckpt": "big", ".hidden": "x"}
    folder = finished(Store(tmp_path), files)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["outputs"] == {
        name: {"sha256": sha256_file(folder / name), "bytes": len(files[name])} for name in ("a.txt", "model/w.bin")
    }
    assert not (folder / SCRATCH).exists()
    assert set(manifest) == {
        "stage", "version", "fingerprint", "inputs", "contents", "sources", "outputs", "config", "versions", "threads",
        "git_sha", "wall_s", "finished_at",
    }  # fmt: skip
    assert manifest["config"] == {"seed": 0}
    assert {"python", "torch", "transformers"} <= set(manifest["versions"])


@pytest.mark.parametrize(("change", "words"), [("tamper", "has changed since"), ("remove", "is missing")])
def test_changed_output_is_noticed_on_read(tmp_path: Path, change: str, words: str) -> None:
    store = Store(tmp_path)
    folder = finished(store, {"a.txt": "abc"})
    if change == "tamper":
        (folder / "a.txt").write_text("abd")
    else:
        (folder / "a.txt").unlink()
    with pytest.raises(StageFailed, match=words) as caught:
        store.verified("prepare", "aa")
    assert str(folder / "a.txt") in str(caught.value)
    assert "--force prepare" in str(caught.value)


def test_discard_removes_the_manifest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    folder = finished(store, {"a.txt": "abc"})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed right after the manifest
        store.discard("prepare", "aa")
    assert folder.is_dir()
    assert not store.finished("prepare", "aa")
    store.discard("prepare", "aa")
    assert not folder.exists()


HOLD = """
import pathlib, sys, time
from domino_lightning.store.store import Store
with Store(sys.argv[1]).lock("tune", "aa"):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(float(sys.argv[3]))
    pathlib.Path(sys.argv[4]).touch()
"""


def hold_lock(tmp_path: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that holds the lock of tune aa; it has it when this returns."""
    root = Path(__file__).resolve().parents[2]
    arguments = [str(tmp_path / "store"), str(tmp_path / "held"), str(seconds), str(tmp_path / "released")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", HOLD, *arguments], env=environment)
    while not (tmp_path / "held").exists():
        assert process.poll() is None, "the other process ended early"
        time.sleep(0.01)
    return process


def test_a_second_process_waits_for_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = hold_lock(tmp_path, seconds=3)
    with Store(tmp_path / "store").lock("tune", "aa"):
        assert (tmp_path / "released").exists()
    assert process.wait() == 0
    assert "tune aa: another process is running it; waiting." in capfd.readouterr().err


def test_a_killed_process_frees_its_stage(tmp_path: Path) -> None:
    process = hold_lock(tmp_path, seconds=600)
    process.kill()
    process.wait()
    with Store(tmp_path / "store").lock("tune", "aa"):
        assert not (tmp_path / "released").exists()


def test_other_stages_are_not_held_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("tune", "aa"), store.lock("tune", "bb"), store.lock("prepare", "aa"):
        assert not store.finished("tune", "aa")


def test_a_store_that_was_copied_with_its_links_followed_has_links_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "here")
    finished(store, {"a.txt": "abc"})
    store.link(store.trial("experiment", "seed=1"), "prepare", "aa")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    copy = Store(tmp_path / "there")
    folder = copy.trial("experiment", "seed=1")
    assert (folder / "prepare").is_dir() and not (folder / "prepare").is_symlink()
    copy.link(folder, "prepare", "bb")  # of another configuration by now
    assert os.readlink(folder / "prepare").endswith("prepare/bb")
    assert (tmp_path / "there/stages/prepare/aa/a.txt").read_text() == "abc"


def test_what_is_no_copy_of_a_stage_stays_where_a_link_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, {"a.txt": "abc"})
    folder = store.trial("experiment", "seed=1")
    (folder / "prepare").mkdir()
    (folder / "prepare" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="prepare: a directory, where a link to the stage is expected. Move it away"):
        store.link(folder, "prepare", "aa")
    assert (folder / "prepare" / "notes.txt").read_text() == "mine"


def test_links_are_relative_and_resolve_after_the_store_moves(tmp_path: Path) -> None:
    store = Store(tmp_path / "here")
    finished(store, {"a.txt": "abc"})
    folder = store.trial("experiment", "seed=1")
    store.link(folder, "prepare", "aa")
    store.link(folder, "prepare", "aa")  # a second run points it anew
    assert not os.path.isabs(os.readlink(folder / "prepare"))
    assert (folder / "prepare" / "a.txt").read_text() == "abc"
    (tmp_path / "here").rename(tmp_path / "there")
    assert (tmp_path / "there/runs/experiment/seed=1/prepare/a.txt").read_text() == "abc"


@pytest.mark.parametrize(
    "name",
    [
        "seed=1,tune.model.loss=a.B",
        "a/b",
        "../../escape",
        "..",
        "",
        "x" * 300,
        "é" * 200,
        "a b\tc\n",
        "[/]:{}*",
    ],
)
def test_any_trial_name_is_one_directory_below_its_experiment(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    folder = store.trial("experiment", name)
    assert folder.is_dir()
    assert folder.resolve().parent == (tmp_path / "runs" / "experiment").resolve()


def test_long_names_stay_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.trial("e", "x" * 300 + "a") != store.trial("e", "x" * 300 + "b")


def test_trial_is_called_by_what_makes_it_differ() -> None:
    assert trial_name([]) == "default"
    assert trial_name(["root=elsewhere", "tracking.wandb=online", "name=n"]) == "default"
    assert trial_name(["root=r", "seed=1", "finetune.source=none"]) == "seed=1,finetune.source=none"


def test_every_name_has_a_directory_of_its_own() -> None:
    plain = ["seed=1", "a.b=0.5,c=x", "weight=1e-3", "naïve", "a_b", "-x-"]
    assert [safe_name(name) for name in plain] == plain
    others = ["a/b", "a b", "a\\b", "a\nb", "a__b", "a_b_", ".a_b", "_a_b", "a?b", "x" * 200, "x" * 201, "/", "."]
    found = [safe_name(name) for name in [*plain, *others]]
    assert len(set(found)) == len(found)
    assert all(name == Path(name).name and len(name.encode()) <= 120 for name in found)


def test_a_lock_that_is_a_directory_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "stages" / "tune" / ".abc.lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"\.abc\.lock: tune abc cannot be locked .*Remove"), store.lock("tune", "abc"):
        pass


def test_a_finished_stage_is_as_readable_as_the_umask_says_and_what_is_private_stays_so(tmp_path: Path) -> None:
    store, key = Store(tmp_path), StageKey("prepare", "aa", {})
    folder = store.path("prepare", "aa")
    folder.mkdir(parents=True)
    for name in ("weights", ".job"):
        (folder / name).write_text("x")
        (folder / name).chmod(0o600)
    store.finish(key, 1, {}, wall_s=0.0)
    assert (folder / "weights").stat().st_mode == (folder / "manifest.json").stat().st_mode
    assert (folder / ".job").stat().st_mode & 0o777 == 0o600


def test_discarding_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    folder = finished(store, {"a.txt": "a"})
    link = other.path("prepare", "aa")
    link.parent.mkdir(parents=True)
    link.symlink_to(folder)
    assert other.finished("prepare", "aa")
    other.discard("prepare", "aa")
    assert not link.is_symlink()
    assert store.finished("prepare", "aa")


def test_a_file_of_another_size_is_told_without_reading_any_and_a_missing_one_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = finished(store, {"a.txt": "abc", "b.txt": "abc"})
    monkeypatch.setattr("domino_lightning.store.store.sha256_file", None)
    assert store.resized("prepare", "aa") is None and store.resized("prepare", "bb") is None
    (folder / "a.txt").unlink()
    assert store.resized("prepare", "aa") is None
    (folder / "b.txt").write_text("ab")
    assert str(store.resized("prepare", "aa")).startswith(
        f"{folder / 'b.txt'} has changed since stage prepare finished"
    )
