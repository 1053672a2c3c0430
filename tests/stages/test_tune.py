"""The tune stage: what its fingerprint covers beside the section itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_backbone
from domino_lightning.models.soft_prompt import read_sample_tokens
from domino_lightning.nn.initialization import soft_prompt_tokens
from domino_lightning.results.soft_prompt import SoftPrompt
from domino_lightning.runner.pipeline import build, make_plan
from domino_lightning.stages import stage_class
from domino_lightning.utils.jsonl import read_jsonl

WriteExperiment = Callable[..., Path]


def fingerprint(experiment: Path) -> str:
    return next(
        step.key.fingerprint for step in make_plan(load_config(experiment), until="tune") if step.stage == "tune"
    )


def starting_from(prompt: Path) -> dict[str, Any]:
    init = {"num_tokens": 2, "init": "soft_prompt", "init_from": str(prompt)}
    return {"tune": {"model": {"domain_prompt": {"init_args": init}}}}


def test_the_content_of_the_soft_prompt_it_starts_from_is_part_of_the_fingerprint(
    tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    prompt = tmp_path / "prompt"
    prompt.mkdir()
    experiment = write_experiment(starting_from(prompt))
    digests = []
    for value in (0.0, 1.0, 0.0):
        save_file({"domain": torch.full((2, 32), value)}, str(prompt / "soft_prompt.safetensors"))
        digests.append(fingerprint(experiment))
    assert digests[0] == digests[2] != digests[1]


def test_a_soft_prompt_that_is_not_there_is_told_before_anything_runs(
    tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    with pytest.raises(UserError, match="no soft prompt there"):
        fingerprint(write_experiment(starting_from(tmp_path / "nowhere")))


@torch.no_grad()
def test_the_export_as_a_peft_adapter_is_the_exported_prompt(smoke_experiment: Path) -> None:
    from peft import PeftModel

    (trial,) = (smoke_experiment.parent / "outputs" / "smoke" / "runs").glob("*/first")
    exported = SoftPrompt.load(trial / "tune")
    spec, ids = exported.description["backbone"], torch.tensor([[20, 30, 40]])
    model = load_backbone(spec)
    ours = model(inputs_embeds=torch.cat([exported.domain, model.get_input_embeddings()(ids[0])])[None]).logits
    adapted = PeftModel.from_pretrained(load_backbone(spec), str(trial / "tune" / "adapter"))
    assert torch.allclose(adapted(input_ids=ids).logits, ours, atol=1e-5)


def test_a_tune_stage_can_be_started_from_by_its_adapter_as_by_its_prompt(smoke_experiment: Path) -> None:
    (trial,) = (smoke_experiment.parent / "outputs" / "smoke" / "runs").glob("*/first")
    exported = SoftPrompt.load(trial / "tune").domain
    for path in (trial / "tune", trial / "tune" / "adapter"):
        assert torch.equal(soft_prompt_tokens(path, len(exported), exported.shape[1]), exported)


def test_the_sample_tokens_of_every_reference_are_kept(smoke_experiment: Path) -> None:
    (trial,) = (smoke_experiment.parent / "outputs" / "smoke" / "runs").glob("*/first")
    references = {row["group"] for row in read_jsonl(trial / "prepare" / "reference.jsonl")}
    samples = read_sample_tokens(trial / "tune")
    assert samples.shape == (len(references), 1, 32)
    assert samples.isfinite().all() and len(samples.flatten(1).unique(dim=0)) == len(references)


@pytest.mark.parametrize("name", ["tune", "finetune", "evaluate"])
def test_a_backbone_dtype_of_auto_is_no_part_of_the_identity_and_any_other_is(name: str) -> None:
    stage, group = stage_class(name), "model" if name != "evaluate" else None

    def identity(**dtype: str) -> Any:
        section: dict[str, Any] = {"trainer": {"max_steps": 2}, "model": {"backbone": "x", "negatives": "local"}}
        (section[group] if group else section).update(dtype)
        return stage.identity(section)

    assert identity(backbone_dtype="auto") == identity()
    assert identity(backbone_dtype="float32") != identity()
    assert identity(backbone_dtype="float32") != identity(backbone_dtype="bfloat16")


@pytest.mark.parametrize("name", ["tune", "synthesize", "evaluate"])
def test_init_args_that_say_nothing_are_no_part_of_the_identity(name: str) -> None:
    def identity(**init_args: Any) -> Any:
        return stage_class(name).identity({"stop": {}, "model": {"loss": {"class_path": "a.Loss", **init_args}}})

    assert identity(init_args={}) == identity()
    assert identity(init_args={"weight": 1}) != identity()


def test_how_many_texts_are_encoded_at_a_time_is_no_part_of_the_fingerprint(
    write_experiment: WriteExperiment,
) -> None:
    whole = fingerprint(write_experiment())
    assert fingerprint(write_experiment({"tune": {"model": {"pair_micro_batch": 2}}})) == whole
    assert fingerprint(write_experiment({"tune": {"model": {"num_sample_tokens": 3}}})) != whole


def test_a_shipped_loss_with_a_schedule_of_someone_else_is_tried(
    tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    lines = ["from domino_lightning.losses import Schedule", "class Words(Schedule):"]
    lines += ["    def __call__(self, progress):", "        return 'much'"]
    (tmp_path / "own_schedule.py").write_text("\n".join(lines))
    loss = {
        "class_path": "domino_lightning.losses.InfoNCE",
        "init_args": {"weight": {"class_path": "own_schedule.Words"}},
    }
    with pytest.raises(
        UserError, match=r"Words breaks domino_lightning\.losses\.Schedule: .* a number, and returned 'much'"
    ):
        build(load_config(write_experiment({"tune": {"model": {"loss": loss}}})), ["tune"])


def test_a_loss_without_the_pairs_that_it_needs_is_told_before_anything_runs(write_experiment: WriteExperiment) -> None:
    config = load_config(write_experiment(), ["tune.model.loss.init_args.pairs=none"])
    with pytest.raises(UserError, match=r"this loss needs \(text, sample prompt\) pairs"):
        build(config, ["tune"])
