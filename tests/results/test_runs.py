"""open_run: the configuration, the numbers, the rows and the soft prompt of a run that --smoke has made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import domino_lightning
from domino_lightning import open_run
from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.results.runs import Run
from domino_lightning.runner.pipeline import write_trial
from domino_lightning.store.locks import LOCK, held
from domino_lightning.store.store import StageKey, Store


@pytest.fixture(scope="module")
def opened(smoke_root: Path) -> Run:
    return open_run(smoke_root / "runs" / "small" / "first")


def test_config_is_the_resolved_document(opened: Run) -> None:
    assert opened.config["name"] == "small"
    assert opened.config["tune"]["trainer"]["max_steps"] == 2
    assert Path(opened.config["tune"]["model"]["backbone"]).name == "tiny-model"


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
    assert sorted(losses["step"]) == [1, 2]
    heldout = frame[frame["key"] == "tune/heldout/nll"]
    assert sorted(heldout["step"]) == [0, 1, 2]
    assert heldout[heldout["step"] > 0]["value"].min() == opened.metrics["tune/heldout/nll_best"]
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


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """A trial with a finished `evaluate` and an unfinished `tune`."""
    store = Store(tmp_path)
    folder = store.trial("x", "t")
    directory = store.path("evaluate", "e" * 16)
    directory.mkdir(parents=True)
    (directory / "metrics.json").write_text('{"evaluate/test/pass@1": 0.5}')
    (directory / "verdicts.jsonl").write_text('{"id": "1", "verdicts": [{"passed": false}]}\n')
    store.finish(StageKey("evaluate", "e" * 16, {}), 1, {}, 1.0)
    store.path("tune", "t" * 16).mkdir(parents=True)
    for stage in ("evaluate", "tune"):
        store.link(folder, stage, stage[0] * 16)
    write_trial(folder, {"name": "x"}, {
        "experiment": "x", "trial": "t", "overrides": [], "status": "finished",
        "stages": {"tune": "t" * 16, "evaluate": "e" * 16},
    })  # fmt: skip
    return folder


def test_numbers_of_an_altered_stage_are_left_out_and_its_file_is_named(
    trial: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_run(trial).metrics == {"evaluate/test/pass@1": 0.5}
    verdicts = trial / "evaluate" / "verdicts.jsonl"
    verdicts.write_text(verdicts.read_text().replace("false", "true "))
    run = open_run(trial)
    assert run.metrics == {}
    assert run.damage == {"evaluate": f"{verdicts} has changed since stage evaluate finished"}
    assert "verdicts.jsonl has changed" in caplog.text
    with pytest.raises(UserError, match=r"verdicts\.jsonl has changed.*--force evaluate"):
        run.rows("evaluate", "verdicts.jsonl")


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "{}", '{"outputs": null}', "\0\0\0"])
def test_a_manifest_that_is_not_whole_is_damage_and_no_finished_stage(trial: Path, content: str) -> None:
    (trial / "evaluate" / "manifest.json").write_text(content)
    run = open_run(trial)
    assert run.metrics == {}
    assert "manifest.json is damaged" in run.damage["evaluate"]
    assert not Store(trial.parents[2]).finished("evaluate", "e" * 16)


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"experiment": "x", "trial": "t", "status": null}'])
def test_a_trial_that_cannot_be_read_is_named(trial: Path, content: str) -> None:
    (trial / "trial.json").write_text(content)
    with pytest.raises(UserError, match=r"trial\.json"):
        open_run(trial)


def test_a_running_trial_whose_process_is_gone_is_interrupted(trial: Path) -> None:
    record = json.loads((trial / "trial.json").read_text())
    (trial / "trial.json").write_text(json.dumps(record | {"status": "running"}))
    assert open_run(trial).status == "interrupted"
    with held(trial / LOCK, "trial"):
        assert open_run(trial).status == "running"
    assert open_run(trial).status == "interrupted"
    (trial / "trial.json").write_text(json.dumps(record | {"status": "running", "sweep": "s"}))
    (trial.parents[2] / "sweeps" / "s").mkdir(parents=True)
    with held(trial.parents[2] / "sweeps" / "s" / LOCK, "sweep"):
        assert open_run(trial).status == "running"
    assert open_run(trial).status == "interrupted"


def test_ls_and_diff_show_damage_and_go_on(trial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trial.parents[2]
    for name, content in (("null", "null"), ("cut", '{"experiment": "x", "tri')):
        folder = Store(root).trial("x", name)
        (folder / "trial.json").write_text(content)
    (trial / "evaluate" / "metrics.json").write_text("null")
    assert main(["ls", str(root)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        ["x/cut", "unreadable"], ["x/null", "unreadable"], ["x/t", "damaged"],
    ]  # fmt: skip
    assert "metrics.json has changed since stage evaluate finished" in out
    assert "null/trial.json: holds null, where a JSON object is expected" in out
    assert main(["diff", str(trial), str(trial)]) == 0
    assert "metrics.json has changed since stage evaluate finished" in capsys.readouterr().out
    assert main(["report", str(root), "--output", str(root / "report")]) == 0
    page = (root / "report" / "report.html").read_text()
    assert "metrics.json has changed since stage evaluate finished" in page
    assert "damaged" in page
