"""Every shipped sweep is expanded, checked and run small in this process; stages that two of them share, once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.sweep import small
from domino_lightning.config.document import load_config
from domino_lightning.stages import stage_class
from domino_lightning.sweep import InProcessLauncher, load_sweep
from domino_lightning.sweep.budget import check_budgets
from domino_lightning.sweep.graph import make_graph
from domino_lightning.sweep.scheduler import Scheduler
from domino_lightning.sweep.validation import validate

SWEEPS = sorted((Path(__file__).resolve().parents[2] / "experiments" / "sweeps").glob("*.yaml"))
QUESTIONS = {
    "backbone",
    "domain_tokens",
    "evidence",
    "evidence_capacity",
    "evidence_references",
    "filters",
    "generation_tokens",
    "loss_weight",
    "losses",
    "reference_noise",
    "references",
    "rivals",
    "sample_tokens",
    "sources",
    "synthetic_size",
    "temperature",
    "windows",
}


def test_there_is_a_sweep_for_every_question() -> None:
    assert {path.stem for path in SWEEPS} == QUESTIONS


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_arm_differs_and_budgets_match(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(sweep.arms) >= 2
    assert len(sweep.seeds) >= 3
    first = [trial for trial in sweep.trials if trial.seed == sweep.seeds[0]]
    documents = [trial.config.document for trial in first]
    assert all(one != other for i, one in enumerate(documents) for other in documents[:i])
    assert check_budgets(sweep)["finetune"]
    assert sweep.baseline in sweep.arms


def test_arms_with_fewer_references_are_scored_on_the_same_functions() -> None:
    (path,) = [path for path in SWEEPS if path.stem == "references"]
    trials = load_sweep(path, ["seeds=[0]"]).trials
    stages: list[Any] = [stage_class("prepare").from_config(trial.config) for trial in trials]
    splits = [stage.splits(execute=False) for stage in stages]
    for name in ("heldout", "test"):
        assert len({tuple(row["id"] for row in split[name]) for split in splits}) == 1
    references = [{row["group"] for row in split["reference"]} for split in splits]
    assert [len(groups) for groups in references] == [6, 12, 24, 48]
    assert all(fewer < more for fewer, more in pairwise(references))


def test_the_last_arm_of_the_filters_is_the_default_chain() -> None:
    (path,) = [path for path in SWEEPS if path.stem == "filters"]
    sweep = load_sweep(path, ["seeds=[0]"])
    chains = {
        trial.axes["filters"]: [node["class_path"] for node in trial.config.document["curate"]["filters"]]
        for trial in sweep.trials
    }
    default = [node["class_path"] for node in load_config(sweep.experiment).document["curate"]["filters"]]
    assert chains["all"] == default
    assert sweep.baseline == "filters=all"
    assert all(set(fewer) < set(more) for fewer, more in pairwise(chains.values()))


def test_rivals_meet_at_one_number_of_pairs_and_at_one_number_of_tokens() -> None:
    (path,) = [path for path in SWEEPS if path.stem == "rivals"]
    sweep = load_sweep(path, ["seeds=[0]"])
    validate(sweep)
    arms: dict[tuple[Any, Any], list[str]] = {}
    for trial in sweep.trials:
        size, stop = trial.config.document["finetune"]["data"]["size"], trial.config.document["synthesize"]["stop"]
        arms.setdefault((size, stop["tokens"]), []).append(trial.axes.get("loss") or trial.axes.get("generator") or "")
    rivals = ["likelihood", "released", "infonce", "paper", "lora", "few-shot", "magpie-few-shot", "oss-instruct"]
    assert arms[48, None] == ["", *rivals, "self-instruct"]  # the first: references alone
    assert arms[None, 24000] == [*rivals, "self-instruct"]
    assert arms[None, None] == [""]  # untouched


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all of them."""
    return tmp_path_factory.mktemp("shipped")


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_arm_runs_to_its_score(path: Path, root: Path) -> None:
    sweep = load_sweep(path, [f"root={root}", "seeds=[0]"])
    validate(sweep)
    sweep = small(sweep)
    graph = make_graph(sweep)
    assert Scheduler(sweep, graph, InProcessLauncher()).run()
    for trial in sweep.trials:
        assert (sweep.root / "runs" / sweep.name / trial.name / "evaluate" / "metrics.json").is_file()
