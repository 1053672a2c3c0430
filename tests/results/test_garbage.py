"""`domino gc`: only what nothing needs goes, and nothing without being asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.results.garbage import RECENT_S, delete, find_garbage, find_temporaries
from domino_lightning.store.store import StageKey, Store
from domino_lightning.utils.jsonl import write_json

Finish = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs")


@pytest.fixture
def finish(store: Store) -> Finish:
    """`finish("curate", "cc", prepare="aa")` makes a finished stage that reads another."""

    def make(stage: str, digest: str, **inputs: str) -> Path:
        folder = store.path(stage, digest)
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text("{}\n")
        store.finish(StageKey(stage, digest, inputs), 1, {}, 1.0)
        return folder

    return make


def trial(store: Store, **stages: str) -> None:
    write_json(store.trial("mine", "first") / "trial.json", {"stages": stages})


def names(store: Store) -> list[str]:
    return [each.fingerprint for each in find_garbage(store)]


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


def test_stages_of_trials_and_sweeps_and_what_they_rest_on_stay(store: Store, finish: Finish) -> None:
    finish("prepare", "aa")
    finish("prepare", "unused")
    finish("synthesize", "bb", prepare="aa")
    finish("curate", "cc", prepare="aa", synthesize="bb")
    finish("tune", "dd", prepare="aa")
    trial(store, curate="cc")
    assert names(store) == ["unused", "dd"]
    (store.root / "sweeps/mine").mkdir(parents=True)
    write_json(store.root / "sweeps/mine/trials.json", {"trials": [{"stages": {"tune": "dd"}}]})
    assert names(store) == ["unused"]


def test_nothing_is_deleted_unless_asked(store: Store, finish: Finish, capsys: pytest.CaptureFixture[str]) -> None:
    folder, kept = finish("prepare", "unused"), finish("prepare", "aa")
    trial(store, prepare="aa")
    assert main(["gc", str(store.root)]) == 0
    assert "1 stages that no trial or sweep needs" in capsys.readouterr().out
    assert folder.is_dir()
    assert main(["gc", str(store.root), "--delete"]) == 0
    assert "deleted" in capsys.readouterr().out
    assert not folder.exists()
    assert kept.is_dir()


def test_an_unfinished_stage_goes_only_when_it_is_old(store: Store) -> None:
    folder = store.path("tune", "half")
    (folder / "scratch").mkdir(parents=True)
    (folder / "scratch" / "last.ckpt").write_text("x")
    assert names(store) == []
    age(folder, RECENT_S + 60)
    assert names(store) == ["half"]


def test_a_stage_that_a_process_holds_stays(store: Store, finish: Finish) -> None:
    folder = finish("prepare", "unused")
    garbage = find_garbage(store)
    with store.lock("prepare", "unused"):
        assert names(store) == []
        assert delete(store, garbage) == []
    assert folder.is_dir()
    assert delete(store, garbage) == garbage
    assert not folder.exists()


def test_a_stage_that_a_trial_took_up_meanwhile_stays(store: Store, finish: Finish) -> None:
    folder = finish("prepare", "unused")
    garbage = find_garbage(store)
    trial(store, prepare="unused")
    assert delete(store, garbage) == []
    assert folder.is_dir()


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_trial_that_cannot_be_read_stops_the_search(store: Store, finish: Finish, content: str) -> None:
    finish("prepare", "aa")
    (store.trial("mine", "first") / "trial.json").write_text(content)
    with pytest.raises(UserError, match=r"trial\.json"):
        find_garbage(store)


def test_a_directory_without_stages_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store here"):
        find_garbage(Store(tmp_path))


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, young = (tmp_path / "stages/tune/0123" / f".x.json.{pid}.tmp" for pid in (1, 2))
    link = tmp_path / "runs/a/b/.tune.3.tmp"
    for path in (old, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    link.parent.mkdir(parents=True)
    link.symlink_to("nowhere")
    os.utime(old, (0, 0))
    os.utime(link, (0, 0), follow_symlinks=False)
    assert find_temporaries(store) == [link, old]
