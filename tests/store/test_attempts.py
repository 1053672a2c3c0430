"""Attempts beside each other: what a new one continues from, and that one of them is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domino_lightning.errors import StageFailed
from domino_lightning.store import attempts
from domino_lightning.store.attempts import publish, rename_is_exclusive, seed
from domino_lightning.store.store import MANIFEST, Store
from domino_lightning.utils.jsonl import sha256_text

KEY = ("tune", "f" * 16)


def whole(folder: Path, text: str) -> Path:
    """A finished directory."""
    folder.mkdir(parents=True)
    (folder / "result.txt").write_text(text)
    manifest = {"stage": KEY[0], "fingerprint": KEY[1], "inputs": {}, "outputs": {}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_of_many_attempts_at_the_same_time_one_is_published_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    works = [whole(tmp_path / "attempts" / str(number), str(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda work: publish(store, *KEY, work), works))
    assert won.count(True) == 1
    winner = won.index(True)
    assert (store.path(*KEY) / "result.txt").read_text() == str(winner)
    assert [work.exists() for work in works] == [number != winner for number in range(8)]


def test_what_an_interrupted_run_left_gives_way(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.path(*KEY) / "scratch").mkdir(parents=True)
    (store.path(*KEY) / "scratch/last.ckpt").touch()
    assert publish(store, *KEY, whole(tmp_path / "attempt", "x"))
    assert (store.path(*KEY) / "result.txt").read_text() == "x"
    assert [path.name for path in store.path(*KEY).parent.iterdir() if path.is_dir()] == [KEY[1]]


def test_two_file_systems_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(old: object, new: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("domino_lightning.store.attempts.os.rename", refuse)
    with pytest.raises(StageFailed, match=r"Invalid cross-device link.*one file system"):
        publish(Store(tmp_path), *KEY, whole(tmp_path / "attempt", "x"))


def checkpoint(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.ckpt").write_text(text)
    (folder / "last.ckpt.sha256").write_text(sha256_text(text) + "\n")


def test_the_latest_attempt_that_got_anywhere_is_continued_without_what_was_half_written(tmp_path: Path) -> None:
    nothing, first = tmp_path / "2", tmp_path / "1"
    nothing.mkdir()
    checkpoint(first / "scratch", "step 5")
    (first / "metrics.csv").write_text("step\n5\n")
    (first / "scratch/.last.ckpt.host.1.abc.tmp").touch()
    (first / "scratch/rank-error.json").touch()
    (first / "scratch/.raw.sha256").write_text("of blocks")
    assert seed(tmp_path / "3", [nothing, first]) == first
    found = {str(path.relative_to(tmp_path / "3")) for path in (tmp_path / "3").rglob("*") if path.is_file()}
    assert found == {"scratch/last.ckpt", "scratch/last.ckpt.sha256", "scratch/.raw.sha256", "metrics.csv"}
    assert seed(tmp_path / "4", [nothing]) is None


def test_the_checkpoint_is_taken_before_what_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "1"
    checkpoint(source / "scratch", "step 5")
    for name in ("scratch/best.ckpt", "a.csv"):
        (source / name).touch()
    taken: list[str] = []
    monkeypatch.setattr(attempts, "_copy", lambda path, target: taken.append(path.name))
    seed(tmp_path / "2", [source])
    assert taken == ["last.ckpt", "best.ckpt", "a.csv"]


def test_a_checkpoint_that_is_replaced_while_it_is_copied_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "1"
    checkpoint(source / "scratch", "step 5")
    copy = attempts.shutil.copyfile
    later: Iterator[str] = iter(["step 10"])

    def copyfile(path: Path, target: Path) -> None:
        copy(path, target)
        if path.name == "last.ckpt" and (text := next(later, "")):
            checkpoint(source / "scratch", text)

    monkeypatch.setattr("domino_lightning.store.attempts.shutil.copyfile", copyfile)
    seed(tmp_path / "2", [source])
    assert (tmp_path / "2/scratch/last.ckpt").read_text() == "step 10"


def test_here_a_directory_does_not_replace_one_that_is_not_empty(tmp_path: Path) -> None:
    assert rename_is_exclusive(tmp_path)
    assert list(tmp_path.iterdir()) == []
