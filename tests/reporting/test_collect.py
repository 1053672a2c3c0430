"""Reading trials, metrics and scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.reporting import Metric, find_trials, read_metrics, read_score, read_trial, series
from domino_lightning.reporting.collect import natural, number
from tests.reporting.conftest import FakeStore


def test_trials_are_found_from_a_trial_an_experiment_runs_and_a_root(full_store: FakeStore) -> None:
    names = ["lr-1", "source-both", "source-none", "source-synthetic"]
    root = full_store.root
    for path in (root, root / "runs", root / "runs" / "exec"):
        assert [trial.name for trial in find_trials([path])] == names
    assert [trial.name for trial in find_trials([root / "runs" / "exec" / "lr-1"])] == ["lr-1"]


def test_a_trial_named_twice_is_found_once_and_the_given_order_is_kept(full_store: FakeStore) -> None:
    experiment = full_store.root / "runs" / "exec"
    found = find_trials([experiment / "source-none", full_store.root])
    assert [trial.name for trial in found] == ["source-none", "lr-1", "source-both", "source-synthetic"]


def test_trials_are_ordered_by_number(store: FakeStore) -> None:
    for name in ("trial-10", "trial-2", "trial-1"):
        store.trial(name, {})
    assert [trial.name for trial in find_trials([store.root])] == ["trial-1", "trial-2", "trial-10"]
    assert sorted(["a", "1", "b2", "b10"], key=natural) == ["1", "a", "b2", "b10"]


@pytest.mark.parametrize("make", [True, False])
def test_a_path_without_trials_is_named_with_the_remedy(tmp_path: Path, make: bool) -> None:
    path = tmp_path / "nothing"
    if make:
        path.mkdir()
    with pytest.raises(UserError, match=r"nothing: no .*Pass a trial, runs/<experiment> or the store's root"):
        find_trials([path])


def test_no_paths_is_an_error() -> None:
    with pytest.raises(UserError, match="no path given"):
        find_trials([])


def test_a_trial_knows_its_stages_and_their_states(store: FakeStore) -> None:
    trial = read_trial(store.failed_trial())
    states = {name: stage.state for name, stage in trial.stages.items()}
    assert states == {
        "prepare": "finished",
        "tune": "unfinished",
        "synthesize": "not run",
        "curate": "not run",
        "answer": "not run",
        "finetune": "not run",
        "evaluate": "not run",
    }
    assert (trial.status, trial.source, trial.seed) == ("failed", "synthetic", "0")
    assert trial.stages["prepare"].wall_s == 12.5
    assert trial.error.endswith("RuntimeError: out of memory")
    assert trial.root == store.root


def test_a_trial_without_links_is_read_through_its_fingerprints(store: FakeStore) -> None:
    path = store.none_trial()
    for link in path.iterdir():
        if link.is_symlink():
            link.unlink()
    assert read_trial(path).stages["evaluate"].state == "finished"


def test_a_trial_without_fingerprints_is_read_through_its_links(store: FakeStore) -> None:
    path = store.none_trial()
    (path / "trial.json").write_text('{"experiment": "exec", "trial": "x"}', encoding="utf-8")
    stage = read_trial(path).stages["evaluate"]
    assert (stage.state, stage.fingerprint) == ("finished", "e0" * 8)


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
def test_an_unreadable_trial_is_a_trial(store: FakeStore, content: str) -> None:
    path = store.trial("broken", {})
    (path / "trial.json").write_text(content, encoding="utf-8")
    (path / "config.yaml").write_text("a: [1", encoding="utf-8")
    trial = read_trial(path)
    assert (trial.status, trial.experiment, trial.name) == ("unreadable", "exec", "broken")
    assert "trial.json: not" in trial.error and "config.yaml: not YAML" in trial.error


def test_the_last_row_of_a_repeated_step_and_key_counts(tmp_path: Path) -> None:
    text = "step,key,value\n0,a,1\n10,a,5\n10,b,7\n10,a,3\n5,a,2\n"
    (tmp_path / "metrics.csv").write_text(text, encoding="utf-8")
    metrics = read_metrics(tmp_path)
    assert metrics == [Metric(0, "a", 1.0), Metric(5, "a", 2.0), Metric(10, "a", 3.0), Metric(10, "b", 7.0)]
    assert series(metrics, "a") == [(0, 1.0), (5, 2.0), (10, 3.0)]


def test_no_metrics_file_is_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_a_broken_last_row_is_left_out_and_one_before_it_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,key,value\n0,a,1\n1,tune/tr", encoding="utf-8")
    assert read_metrics(tmp_path) == [Metric(0, "a", 1.0)]
    path.write_text("step,key,value\n0,a,one\n1,a,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics.csv, line 2: .*0,a,one"):
        read_metrics(tmp_path)


def test_other_columns_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1: columns epoch,loss, where step,key,value"):
        read_metrics(tmp_path)


def test_a_score_is_pass_at_1_with_its_interval(store: FakeStore) -> None:
    trial = read_trial(store.none_trial())
    score = read_score(trial.stages["evaluate"])
    assert score is not None
    assert (score.value, score.low, score.high) == (0.2, 0.05, 0.4)
    assert (score.problems, score.groups, score.samples, score.others) == (10, 9, 10, {})
    assert read_score(trial.stages["tune"]) is None


def test_only_finite_numbers_are_numbers() -> None:
    assert [number(value) for value in (1, 0.5, True, "1", None, float("nan"))] == [
        1.0,
        0.5,
        None,
        None,
        None,
        None,
    ]
