"""The model repositories: PEFT loads what is in them, and their cards name base, data, licenses and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel

from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_backbone
from domino_lightning.models.soft_prompt import read_soft_tokens
from domino_lightning.release.bundle import Bundle
from domino_lightning.release.models import coder_bundle, soft_prompt_bundle
from domino_lightning.release.origin import Origin
from domino_lightning.results.runs import Run
from domino_lightning.utils.jsonl import read_json, write_json
from tests.release.conftest import TERMS


def soft_prompt(run: Run) -> Bundle:
    return soft_prompt_bundle(Origin.of(run, "tune"), TERMS, "me/pairs-soft-prompt")


def coder(run: Run, data: str | None = None) -> Bundle:
    return coder_bundle(Origin.of(run, "evaluate"), TERMS, "me/pairs-coder", data)


def test_peft_loads_the_soft_prompt_from_the_repository(smoke_run: Run, tmp_path: Path) -> None:
    folder = soft_prompt(smoke_run).lay_out(tmp_path)
    base = load_backbone(read_json(smoke_run.path / "tune" / "soft_prompt.json")["backbone"])
    loaded = PeftModel.from_pretrained(base, str(folder))
    tokens = loaded.prompt_encoder["default"].embedding.weight
    domain = read_soft_tokens(smoke_run.path / "tune" / "soft_prompt.safetensors")
    assert torch.equal(tokens[-len(domain) :].cpu(), domain)
    assert torch.equal(read_soft_tokens(folder / "soft_prompt.safetensors"), domain)


def test_the_tokens_that_belong_to_single_references_stay_here(smoke_run: Run) -> None:
    assert (smoke_run.path / "tune" / "sample_tokens.safetensors").is_file()
    assert not any("sample" in name for name in soft_prompt(smoke_run).files)


def test_peft_loads_the_coder_from_the_repository(smoke_run: Run, tmp_path: Path) -> None:
    folder = coder(smoke_run).lay_out(tmp_path)
    base = load_backbone(read_json(smoke_run.path / "finetune" / "coder.json")["base"])
    assert PeftModel.from_pretrained(base, str(folder)).peft_config["default"].r == 16


def test_the_base_is_named_as_the_run_named_it_not_where_this_machine_keeps_it(smoke_run: Run) -> None:
    name = Path(smoke_run.config["backbone"]).name
    for bundle in (soft_prompt(smoke_run), coder(smoke_run)):
        content = bundle.files["adapter_config.json"]
        assert isinstance(content, bytes)
        assert json.loads(content)["base_model_name_or_path"] == name
        assert any(f"'{name}' is not on the hub" in note for note in bundle.notes)


def test_the_coders_card_names_its_data_license_and_scores(smoke_run: Run) -> None:
    content = coder(smoke_run, data="me/pairs").files["README.md"]
    assert isinstance(content, bytes)
    card = ModelCard(content.decode())
    head = card.data.to_dict()
    assert {name: head[name] for name in ("license", "datasets", "library_name", "pipeline_tag", "language")} == {
        "license": "cc-by-4.0",
        "datasets": ["me/pairs"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "language": ["en", "code"],
    }
    assert "base_model" not in head
    assert f"| `evaluate/test/pass@1` | {smoke_run.metrics['evaluate/test/pass@1']:.4g} |" in card.content
    assert f'from_pretrained("{Path(smoke_run.config["backbone"]).name}"), "me/pairs-coder")' in card.content


def test_a_base_on_the_hub_is_the_cards_base_model(smoke_run: Run, tmp_path: Path) -> None:
    origin = Origin.of(smoke_run, "tune")
    moved = tmp_path / "tune" / origin.directory.name
    moved.mkdir(parents=True)
    description = {**read_json(origin.directory / "soft_prompt.json"), "backbone": "org/model"}
    write_json(moved / "soft_prompt.json", description)
    (moved / "adapter").symlink_to(origin.directory / "adapter")
    content = soft_prompt_bundle(Origin(smoke_run, moved, origin.stages), TERMS, "me/x").files["README.md"]
    assert isinstance(content, bytes)
    assert ModelCard(content.decode()).data.base_model == "org/model"


def test_an_untouched_backbone_is_no_coder_to_release(smoke_run: Run, tmp_path: Path) -> None:
    origin = Origin.of(smoke_run, "evaluate")
    folders = [tmp_path / name / origin.stages[name]["fingerprint"] for name in ("finetune", "evaluate")]
    for folder in folders:
        folder.mkdir(parents=True)
    write_json(folders[0] / "coder.json", {"base": "org/model", "adapter": False, "source": "none"})
    with pytest.raises(UserError, match=r"is 'org/model' as it was \(finetune.source is none\)"):
        coder_bundle(Origin(smoke_run, folders[1], origin.stages), TERMS, "me/x", None)


def test_a_whole_model_comes_with_its_tokenizer(smoke_run: Run, tmp_path: Path, tiny_backbone: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    origin = Origin.of(smoke_run, "evaluate")
    finetune, evaluate = (tmp_path / name / origin.stages[name]["fingerprint"] for name in ("finetune", "evaluate"))
    finetune.mkdir(parents=True)
    evaluate.mkdir(parents=True)
    for name in ("curate", "answer"):
        (tmp_path / name).symlink_to(origin.directory.parents[1] / name)
    load_backbone(str(tiny_backbone)).save_pretrained(str(finetune / "model"))
    trained = {"base": str(tiny_backbone), "adapter": False, "source": "both", "steps": 3, "pairs": 4}
    write_json(finetune / "coder.json", trained)
    bundle = coder_bundle(Origin(smoke_run, evaluate, origin.stages), TERMS, "me/x", None)
    folder = bundle.lay_out(tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert (
        AutoTokenizer.from_pretrained(folder)("ab").input_ids
        == AutoTokenizer.from_pretrained(tiny_backbone)("ab").input_ids
    )
