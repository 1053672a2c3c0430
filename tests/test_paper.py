"""experiments/paper: the published settings are what the files say, and the files pass `domino check` and --smoke."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config

PAPER = Path(__file__).parents[1] / "experiments" / "paper"
TASKS = {"generation": "lcb_public_dev.jsonl", "execution": "lcb_execution_dev.jsonl"}


def document(task: str) -> dict[str, Any]:
    return load_config(PAPER / f"livecodebench_{task}.yaml").document


@pytest.mark.parametrize("task", TASKS)
def test_the_published_settings(task: str) -> None:
    tree = document(task)
    assert tree["backbone"] == "Qwen/Qwen2.5-Coder-7B-Instruct"
    model, data, trainer = (tree["tune"][name] for name in ("model", "data", "trainer"))
    assert model["num_sample_tokens"] == model["domain_prompt"]["init_args"]["num_tokens"] == 256
    assert model["learning_rate"] == 1e-3 and model["warmup_steps"] == 0
    assert model["loss"]["class_path"].endswith(".ReleasedObjective")
    assert model["loss"]["init_args"]["weight"] == 1
    assert data["batch_size"] == 3 and trainer["devices"] == 1
    assert data["max_length"] == 1024
    assert (trainer["max_epochs"], trainer["max_steps"]) == (10, -1)
    assert trainer["precision"].startswith("bf16")
    assert tree["synthesize"]["generator"]["init_args"]["temperature"] == {"generation": 0.8, "execution": 0.6}[task]
    scored = tree["evaluate"]["samples"], tree["evaluate"]["temperature"]
    assert scored == {"generation": (10, 0.2), "execution": (1, 0.0)}[task]


@pytest.mark.parametrize("task", TASKS)
def test_check_passes_where_the_data_is_given_and_names_what_it_cannot_reach(
    task: str, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = PAPER / f"livecodebench_{task}.yaml"
    assert main(["check", str(path), f"prepare.source.path={shared_data / TASKS[task]}"]) == 0
    out = capsys.readouterr().out
    assert "configuration and data are valid" in out
    assert re.search(r"reference: \d\d+ rows of \d+ groups", out)
    assert "not checked: tune.model.backbone: backbone 'Qwen/Qwen2.5-Coder-7B-Instruct'" in out


@pytest.mark.parametrize("task", TASKS)
def test_check_without_the_hub_claims_nothing_about_the_data(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(PAPER / f"livecodebench_{task}.yaml")]) == 0
    out = capsys.readouterr().out
    assert "the configuration is valid" in out and "data are valid" not in out
    assert "not checked: prepare.source.path: 'hf:livecodebench/" in out


def test_check_still_refuses_a_bad_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(PAPER / "livecodebench_execution.yaml")
    assert main(["check", path, "tune.model.num_sample_token=3"]) == 2
    assert "num_sample_tokens" in capsys.readouterr().err
    assert main(["check", path, "prepare.source.path=nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("task", "last"), [("generation", "answer"), ("execution", "evaluate")])
def test_smoke_runs_the_stages(task: str, last: str, tmp_path: Path) -> None:
    """Generation up to its answers: a random model writes no program on which several samples agree."""
    path = str(PAPER / f"livecodebench_{task}.yaml")
    assert main(["run", path, f"root={tmp_path}", "--smoke", "--trial", "small", "--until", last]) == 0
    assert (tmp_path / "smoke" / "runs" / f"paper_livecodebench_{task}" / "small" / last).is_dir()
