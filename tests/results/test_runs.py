"""open_run: the configuration, the numbers, the rows and the soft prompt of a run that --smoke has made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import domino_lightning
from domino_lightning import open_run
from domino_lightning.errors import UserError
from domino_lightning.results.runs import Run


@pytest.fixture(scope="module")
def opened(smoke_root: Path) -> Run:
    return open_run(smoke_root / "runs" / "small" / "first")


def test_config_is_the_resolved_document(opened: Run) -> None:
    assert opened.config["name"] == "small"
    assert opened.config["tune"]["trainer"]["max_steps"] == 2
    assert Path(opened.config["tune"]["model"]["backbone"]).name == "tiny-backbone"


def test_trial_names_its_stages(opened: Run, smoke_root: Path) -> None:
    assert opened.trial["status"] == "finished"
    for stage, digest in opened.trial["stages"].items():
        assert opened.stage(stage).resolve() == (smoke_root / "stages" / stage / digest).resolve()


def test_metrics_have_the_final_numbers_of_all_stages(opened: Run) -> None:
    metrics = opened.metrics
    assert metrics["prepare/test/rows"] == len(opened.rows("prepare", "test.jsonl"))
    assert metrics["synthesize/raw/candidates"] == 8
    assert metrics["curate/accepted/rows"] == len(opened.rows("curate", "accepted.jsonl"))
    assert metrics["answer/pairs/rows"] == len(opened.rows("answer", "pairs.jsonl"))
    assert metrics["finetune/train/steps"] == 2
    assert 0 <= metrics["evaluate/test/pass@1"] <= 1
    assert metrics["tune/heldout/nll_best"] <= metrics["tune/heldout/nll"]


def test_history_has_every_logged_value_once(opened: Run) -> None:
    frame = opened.history()
    assert list(frame.columns) == ["step", "key", "value"]
    assert not frame.duplicated(["step", "key"]).any()
    losses = frame[frame["key"] == "tune/train/loss"]
    assert sorted(losses["step"]) == [0, 1]
    best = frame[frame["key"] == "tune/heldout/nll"]["value"].min()
    assert best == opened.metrics["tune/heldout/nll_best"]
    assert {"finetune/train/loss", "finetune/heldout/nll"} <= set(frame["key"])


def test_rows_are_the_records_of_a_stage(opened: Run) -> None:
    assert all({"id", "code", "input", "output"} <= set(row) for row in opened.rows("answer", "answered.jsonl"))
    with pytest.raises(UserError, match="no such file"):
        opened.rows("answer", "nothing.jsonl")


def test_soft_prompt_generates(opened: Run) -> None:
    soft_prompt = opened.soft_prompt()
    texts = soft_prompt.generate(2, max_new_tokens=6, seed=3)
    assert len(texts) == 2
    assert all(isinstance(text, str) for text in texts)
    assert soft_prompt.generate(2, max_new_tokens=6, seed=3) == texts
    assert soft_prompt.domain.shape == (2, 32)


def test_a_stage_that_was_not_reached_is_told(opened: Run) -> None:
    with pytest.raises(UserError, match="no stage 'report' here"):
        opened.stage("report")


def test_a_path_without_a_trial_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`domino ls` lists them"):
        open_run(tmp_path)


def test_a_run_that_has_only_begun_opens(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: begun\n")
    trial = {"experiment": "begun", "trial": "default", "status": "running", "stages": {"prepare": "aa"}}
    (tmp_path / "trial.json").write_text(json.dumps(trial))
    begun = open_run(str(tmp_path))
    assert begun.metrics == {}
    assert begun.history().empty
    with pytest.raises(UserError, match="no stage 'prepare'"):
        begun.stage("prepare")


def test_the_package_offers_open_run() -> None:
    assert domino_lightning.Run is Run
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = domino_lightning.nothing
