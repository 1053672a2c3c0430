"""`domino run --smoke` runs every experiment that is shipped, from start to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from domino_lightning.cli.main import main
from domino_lightning.utils.jsonl import read_json, read_jsonl

EXPERIMENTS = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "experiments").rglob("*.yaml")
    if "sweeps" not in path.parts  # tests/sweep/test_shipped.py runs those
)


def smoke(path: Path, root: Path, *arguments: str) -> Path:
    """Run an experiment; the directory of the trial."""
    assert main(["run", str(path), f"root={root}", "--smoke", "--trial", "smoke", *arguments]) == 0
    name = yaml.safe_load(path.read_text(encoding="utf-8")).get("name", "experiment")
    return root / "smoke" / "runs" / str(name) / "smoke"


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_runs_and_is_scored(path: Path, tmp_path: Path) -> None:
    trial = smoke(path, tmp_path)
    assert read_json(trial / "trial.json")["status"] == "finished"
    metrics = read_json(trial / "evaluate" / "metrics.json")
    assert 0 <= metrics["evaluate/test/pass@1"] <= 1
    for stage in read_json(trial / "trial.json")["stages"]:
        assert (trial / stage / "manifest.json").is_file()


@pytest.mark.slow
def test_codegen_problems_are_answered_where_programs_agree(tmp_path: Path) -> None:
    (path,) = [path for path in EXPERIMENTS if path.stem == "mbpp_smollm2"]
    trial = smoke(path, tmp_path, "finetune.source=synthetic")
    summary = read_json(trial / "answer" / "answers.json")
    assert 0 < summary["answered"] == summary["accepted"]
    (first, *_) = read_jsonl(trial / "answer" / "pairs.jsonl")
    assert first["provenance"]["agreement"] == 1.0
    assert first["messages"][-1]["content"].startswith("```python\ndef ")


@pytest.mark.slow
def test_a_corpus_seen_through_a_large_model_is_seen_through_the_tiny_one(tmp_path: Path) -> None:
    (path,) = [path for path in EXPERIMENTS if path.stem == "quickstart"]
    hidden = "answer.embedding.class_path=domino_lightning.curation.HiddenStates"
    large = "answer.embedding.init_args.backbone=Qwen/Qwen2.5-Coder-7B-Instruct"
    trial = smoke(path, tmp_path, "finetune.source=synthetic", hidden, large, "--until", "answer")
    assert read_json(trial / "answer" / "corpus.json")["embedding"] == "HiddenStates"


@pytest.mark.parametrize("kind", ["FewShot", "Magpie", "OSSInstruct"])
def test_generators_that_ask_in_words_need_no_domain_tokens(kind: str, tmp_path: Path) -> None:
    (path,) = [path for path in EXPERIMENTS if path.stem == "quickstart"]
    chosen = (
        f"class_path=domino_lightning.synthesis.{kind}",
        "init_args.backbone=Qwen/Qwen2.5-7B",
        "init_args.shots=9",
    )
    trial = smoke(
        path, tmp_path, "finetune.source=synthetic", *(f"synthesize.generator.{each}" for each in chosen),
        "--until", "synthesize",
    )  # fmt: skip
    assert not (trial / "tune").exists()
    rows = read_jsonl(trial / "synthesize" / "raw-00000.jsonl")
    assert len(rows) == 8 and max(row["num_tokens"] for row in rows[1::2]) <= 8


def test_domain_tokens_that_start_from_a_larger_models_prompt_start_from_the_vocabulary_instead(tmp_path: Path) -> None:
    (path,) = [path for path in EXPERIMENTS if path.stem == "quickstart"]
    save_file({"domain": torch.zeros(2, 576)}, str(tmp_path / "soft_prompt.safetensors"))
    init = "tune.model.domain_prompt.init_args"
    trial = smoke(path, tmp_path, f"{init}.init=soft_prompt", f"{init}.init_from={tmp_path}", "--until", "tune")
    made = read_json(trial / "tune" / "soft_prompt.json")
    assert made["init"] == "vocabulary"
    assert made["hidden_size"] < 576
    domain = load_file(str(trial / "tune" / "soft_prompt.safetensors"))["domain"]
    assert domain.shape == (made["num_tokens"], made["hidden_size"])
    assert domain.abs().sum() > 0
