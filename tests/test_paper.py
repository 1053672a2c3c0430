"""experiments/paper: the published settings are what the files say, and the files pass `domino check` and --smoke."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.evaluation.statistics import exact_mcnemar
from domino_lightning.sweep import load_sweep
from domino_lightning.sweep.budget import check_budgets
from domino_lightning.sweep.validation import validate

PAPER = Path(__file__).parents[1] / "experiments" / "paper"
SWEEPS = sorted((PAPER / "sweeps").glob("*.yaml"))
PAGE = (Path(__file__).parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")
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
    assert model["loss"]["class_path"].endswith(".PaperObjective")
    assert model["loss"]["init_args"] == {"weight": 1, "likelihood": "sequence", "bounded": False}
    assert data["batch_size"] == 3 and trainer["devices"] == 1
    assert data["max_length"] == 1024
    assert (trainer["max_epochs"], trainer["max_steps"]) == (10, -1)
    assert trainer["precision"].startswith("bf16")
    assert tree["synthesize"]["generator"]["init_args"]["temperature"] == {"generation": 0.8, "execution": 0.6}[task]
    assert tree["synthesize"]["stop"] == {
        "candidates": {"generation": 80_000, "execution": 40_000}[task],
        "accepted": None,
        "tokens": None,
        "min_screened": 1,
    }
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


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_expands_into_arms_that_differ_on_matched_budgets(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.name == f"paper_{path.stem}"  # apart from experiments/sweeps in one store
    assert sweep.experiment.resolve().parent == PAPER.resolve()
    assert len(sweep.arms) >= 3 and len(sweep.seeds) >= 3
    documents = [trial.config.document for trial in sweep.trials if trial.seed == sweep.seeds[0]]
    assert all(one != other for i, one in enumerate(documents) for other in documents[:i])
    # Coders take equally many steps in every arm, also where tuning passes ten times over what an arm has.
    assert {document["finetune"]["trainer"]["max_steps"] for document in documents} == {300}
    assert {document["tune"]["trainer"]["max_epochs"] for document in documents} == {10}
    assert sweep.budget == "axis" or check_budgets(sweep)["finetune"] == "300 optimizer steps"
    assert f"`{path.stem}`" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_section_of_a_sweep_is_valid(path: Path) -> None:
    validate(load_sweep(path, ["seeds=[0]"]))


def test_the_page_names_only_sweeps_that_are_there() -> None:
    rows = [line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - {"finetune"}
    assert named == {path.stem for path in SWEEPS}


@pytest.mark.slow
def test_the_released_objective_is_an_arm_beside_the_papers() -> None:
    for task in TASKS:
        for name in ("table1", "loss_weight"):
            arms = load_sweep(PAPER / "sweeps" / f"{name}_{task}.yaml").arms
            assert {"released", "paper", "likelihood"} <= set(re.findall(r"loss=(\w+)", " ".join(arms)))


def test_what_the_page_says_about_five_problems() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| References") and "execution" in line)
    shares = [float(number) for number in re.findall(r"\d\d\.\d\d", row)]
    solved = [round(share * 1.08) for share in shares]
    assert solved == [49, 52, 60, 61, 61]
    assert all(abs(share - 100 * count / 108) < 0.01 for share, count in zip(shares, solved, strict=True))
    assert f"{', '.join(map(str, solved[:-1]))} and {solved[-1]} of 108" in PAGE
    assert round(100 * 5 / 108, 2) == 4.63 and round(100 / 108, 2) == 0.93
    p_values = [exact_mcnemar(gained, lost) for gained, lost in ((5, 0), (6, 1), (7, 2), (8, 3))]
    assert p_values[:2] == [0.0625, 0.125]
    assert all(earlier < later for earlier, later in pairwise(p_values))
    assert round(exact_mcnemar(6, 0), 3) == 0.031
