"""The exported domain tokens: written with what they belong to, refused on anything else, ready to generate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_backbone, load_tokenizer
from domino_lightning.models.soft_prompt import save_peft_adapter, save_soft_prompt, tokenizer_hash
from domino_lightning.results.soft_prompt import SoftPrompt
from domino_lightning.synthesis import Sampling
from domino_lightning.testing import byte_tokenizer, save_tiny_backbone
from domino_lightning.utils.jsonl import read_json, write_json


def domain(tokens: int = 3) -> Tensor:
    return torch.randn(tokens, 32, generator=torch.Generator().manual_seed(0))


def export(directory: Path, backbone: Path) -> Path:
    directory.mkdir(exist_ok=True)
    save_soft_prompt(directory, domain(), str(backbone), load_tokenizer(str(backbone)), init="vocabulary", step=7)
    return directory


def test_an_export_comes_back_bit_for_bit_with_what_it_belongs_to(tmp_path: Path, tiny_backbone: Path) -> None:
    loaded = SoftPrompt.load(export(tmp_path / "tune", tiny_backbone))
    assert torch.equal(loaded.domain, domain())
    assert loaded.domain.dtype == torch.float32
    description = read_json(tmp_path / "tune" / "soft_prompt.json")
    assert loaded.description == description
    assert (description["num_tokens"], description["hidden_size"]) == (3, 32)
    assert (description["init"], description["step"]) == ("vocabulary", 7)
    assert description["backbone"] == str(tiny_backbone)
    assert sorted(path.name for path in (tmp_path / "tune").iterdir()) == [
        "soft_prompt.json",
        "soft_prompt.safetensors",
    ]


def test_a_prompt_with_a_gradient_and_half_precision_is_saved_as_plain_float32(
    tmp_path: Path, tiny_backbone: Path
) -> None:
    tokens = domain().bfloat16().requires_grad_()
    save_soft_prompt(tmp_path, tokens, str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    loaded = SoftPrompt.load(tmp_path).domain
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, tokens.detach().float())


def test_another_backbone_is_refused_by_name(tmp_path: Path, tiny_backbone: Path) -> None:
    other = save_tiny_backbone(tmp_path / "other", seed=1)
    export(tmp_path / "tune", tiny_backbone)
    with pytest.raises(UserError, match=r"soft_prompt\.json: .*learned on backbone .*tiny.*other") as caught:
        SoftPrompt.load(tmp_path / "tune", str(other))
    told = str(caught.value)
    assert "backbone_hash" in told  # the weights alone differ
    assert "hidden_size" not in told
    assert "tokenizer" not in told.removesuffix("Use the backbone and tokenizer of the export, or tune again.")


def test_the_refusal_says_in_which_ways_another_backbone_differs(tmp_path: Path, tiny_backbone: Path) -> None:
    other = save_tiny_backbone(tmp_path / "wider", "qwen2", bos=True, hidden_size=64, num_hidden_layers=3)
    export(tmp_path / "tune", tiny_backbone)
    with pytest.raises(UserError) as caught:
        SoftPrompt.load(tmp_path / "tune", str(other))
    for words in (
        "model_type llama there, qwen2 here",
        "hidden_size 32 there, 64 here",
        "num_hidden_layers 2 there, 3 here",
        "bos_ids [] there, [2] here",
    ):
        assert words in str(caught.value)


def test_a_copy_of_the_backbone_elsewhere_is_accepted(tmp_path: Path, tiny_backbone: Path) -> None:
    copy = save_tiny_backbone(tmp_path / "copy")
    assert torch.equal(SoftPrompt.load(export(tmp_path / "tune", tiny_backbone), str(copy)).domain, domain())


def test_another_tokenizer_on_the_same_weights_is_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    description = export(tmp_path / "tune", tiny_backbone) / "soft_prompt.json"
    more = byte_tokenizer()
    more.add_tokens(["<|new|>"])
    write_json(description, read_json(description) | {"tokenizer_hash": tokenizer_hash(more)})
    with pytest.raises(UserError, match=r"soft_prompt\.json: .*: tokenizer_hash \w{12} there, \w{12} here\. Use"):
        SoftPrompt.load(tmp_path / "tune")


def test_the_tokenizers_hash_follows_its_vocabulary() -> None:
    more = byte_tokenizer()
    more.add_tokens(["<|new|>"])
    assert tokenizer_hash(byte_tokenizer()) == tokenizer_hash(byte_tokenizer(bos=True))
    assert tokenizer_hash(byte_tokenizer()) != tokenizer_hash(more)


def test_a_directory_without_an_export_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"soft_prompt\.json"):
        SoftPrompt.load(tmp_path)


@pytest.mark.parametrize("bos", [False, True])
@torch.no_grad()
def test_greedy_generation_equals_the_model_fed_token_by_token(tmp_path: Path, bos: bool) -> None:
    backbone = save_tiny_backbone(tmp_path / "backbone", bos=bos)
    loaded = SoftPrompt.load(export(tmp_path / "tune", backbone))
    model, tokenizer = load_backbone(str(backbone)), load_tokenizer(str(backbone))
    (sampled,) = loaded.language_model.complete([""], [0], 0, Sampling(temperature=0.0, max_new_tokens=6))
    start = model.get_input_embeddings()(torch.tensor([2])) if bos else torch.zeros(0, 32)
    inputs, ids = torch.cat([start, loaded.domain]), []
    for _ in range(6):
        token = int(model(inputs_embeds=inputs[None]).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
        inputs = torch.cat([inputs, model.get_input_embeddings()(torch.tensor([token]))])
    assert sampled.text == tokenizer.decode(ids, skip_special_tokens=True)
    assert sampled.num_tokens == len(ids)


def test_a_text_depends_on_seed_and_row_and_not_on_the_batch(tmp_path: Path, tiny_backbone: Path) -> None:
    loaded = SoftPrompt.load(export(tmp_path / "tune", tiny_backbone))
    texts = loaded.generate(4, max_new_tokens=8, seed=5)
    assert texts == loaded.generate(4, max_new_tokens=8, seed=5)
    assert texts[:2] == loaded.generate(2, max_new_tokens=8, seed=5)
    assert texts != loaded.generate(4, max_new_tokens=8, seed=6)
    assert len(set(texts)) == 4
    sampling = Sampling(0.8, max_new_tokens=8)
    sampled = loaded.language_model.complete([""] * 2, [3, 1], 5, sampling)
    assert [each.text for each in sampled] == [texts[3], texts[1]]


@pytest.mark.parametrize(("family", "bos"), [("llama", False), ("llama", True), ("gemma3_text", True), ("gpt2", False)])
@torch.no_grad()
def test_the_peft_adapter_gives_the_logits_of_the_prompt(tmp_path: Path, family: str, bos: bool) -> None:
    from peft import PeftModel

    sizes = {"head_dim": 8} if family == "gemma3_text" else {}
    spec = str(save_tiny_backbone(tmp_path / "backbone", family, bos=bos, **sizes))
    model, tokenizer = load_backbone(spec), load_tokenizer(spec)
    embed, ids = model.get_input_embeddings(), torch.tensor(tokenizer("def f", add_special_tokens=False).input_ids)
    prefix = torch.cat([embed(torch.tensor([2] if bos else [], dtype=torch.long)), domain()])
    ours = model(inputs_embeds=torch.cat([prefix, embed(ids)])[None]).logits
    save_peft_adapter(tmp_path / "adapter", prefix, spec)
    theirs = PeftModel.from_pretrained(load_backbone(spec), str(tmp_path / "adapter"))(input_ids=ids[None]).logits
    assert theirs.shape == ours.shape
    assert torch.allclose(theirs, ours, atol=1e-5)
