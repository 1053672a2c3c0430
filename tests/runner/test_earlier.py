"""A trial's name that is given again: what it held of another configuration is kept, dated, and said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.results.garbage import find_garbage
from domino_lightning.results.runs import open_run
from domino_lightning.runner.earlier import set_aside
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.store.locks import LOCK, held
from domino_lightning.store.store import Store
from domino_lightning.sweep.graph import make_graph
from domino_lightning.sweep.records import TrialRecords

Write = Callable[..., Path]
REPLAY = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}
OTHER = "curate.filters=[domino_lightning.curation.Parses]"


def run(path: Path, *overrides: str, until: str = "curate") -> list[str]:
    """Run as `default`; what was told about trials."""
    config, told = load_config(path, overrides), list[str]()
    run_plan(config, make_plan(config, until), "default", overrides, announce=told.append)
    return [text for text in told if "earlier run" in text]


def test_another_configuration_keeps_the_earlier_trial_and_gc_its_stages(
    write_experiment: Write, tmp_path: Path
) -> None:
    path = write_experiment(REPLAY)
    assert run(path) == []
    first = open_run(tmp_path / "outputs/runs/small/default").trial
    told = run(path, OTHER)
    (kept,) = (tmp_path / "outputs/runs/small").glob("default@*")
    assert str(kept) in told[0]
    earlier, now = open_run(kept), open_run(tmp_path / "outputs/runs/small/default")
    assert earlier.trial["stages"] == first["stages"]
    assert earlier.status == "finished"
    assert earlier.stage("curate").resolve().name == first["stages"]["curate"]
    assert now.stage("curate").resolve().name == now.trial["stages"]["curate"] != first["stages"]["curate"]
    assert find_garbage(Store(tmp_path / "outputs")) == []
    assert run(path, OTHER) == []  # the same again is the same trial
    assert len(run(path)) == 1
    assert len(list((tmp_path / "outputs/runs/small").glob("default@*"))) == 2


def test_a_run_of_fewer_stages_leaves_the_further_ones_in_the_record(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    run(path)
    before = open_run(tmp_path / "outputs/runs/small/default").trial["stages"]
    assert run(path, until="prepare") == []
    assert open_run(tmp_path / "outputs/runs/small/default").trial["stages"] == before
    assert len(run(path, OTHER, until="prepare")) == 1  # whose curate is another
    assert list(open_run(tmp_path / "outputs/runs/small/default").trial["stages"]) == ["prepare"]


def test_a_trial_whose_stages_left_nothing_is_not_kept(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    run(path, until="prepare")
    shutil.rmtree(tmp_path / "outputs/stages")
    assert run(path, "prepare.seed=5", until="prepare") == []


def test_a_trial_that_another_process_runs_is_left_alone(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    run(path, until="prepare")
    folder = tmp_path / "outputs/runs/small/default"
    before = (folder / "trial.json").read_text()
    with held(folder / LOCK, "the trial"), pytest.raises(UserError, match="--trial"):
        run(path, "prepare.seed=5", until="prepare")
    assert (folder / "trial.json").read_text() == before


def test_what_a_kill_interrupted_is_moved_on_into_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "default"
    folder.mkdir()
    record = {"trial": "default", "stages": {}, "status": "running", "started_at": "2026-01-02T03:04:05Z"}
    (folder / "trial.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text("name: x\n")
    (tmp_path / "default@2026-01-02T030405Z").mkdir()  # a kill came before trial.json was moved
    kept = set_aside(folder, record)
    assert kept.name == "default@2026-01-02T030405Z"
    assert json.loads((kept / "trial.json").read_text())["status"] == "interrupted"
    assert (kept / "config.yaml").is_file()
    assert list(folder.iterdir()) == []


def test_trials_of_an_edited_sweep_are_kept(
    write_experiment: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from domino_lightning.sweep import load_sweep

    write_experiment(REPLAY)
    path = tmp_path / "mine.yaml"

    def record(filters: list[str]) -> dict[str, Any]:
        tree = {"experiment": "experiment.yaml", "until": "curate", "set": {"curate.filters": filters}}
        path.write_text(json.dumps(tree))
        sweep = load_sweep(path)
        graph, store = make_graph(sweep), Store(sweep.root)
        records = TrialRecords(sweep, graph, store)
        for key in graph.nodes:
            store.path(*key).mkdir(parents=True, exist_ok=True)
        return records.records["default,seed=0"]

    first = record([])
    record([])
    assert caplog.messages == []
    record(["domino_lightning.curation.Parses"])
    (kept,) = (tmp_path / "outputs/runs/mine").glob("default,seed=0@*")
    assert open_run(kept).trial["stages"] == first["stages"]
    assert str(kept) in caplog.messages[0]
