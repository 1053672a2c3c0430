"""The exported domain tokens: written with what they belong to, refused on anything else, ready to generate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from domino_lightning.backbone import load_backbone, load_tokenizer
from domino_lightning.errors import UserError
from domino_lightning.records import read_json, write_json
from domino_lightning.soft_prompt import SoftPrompt, save_soft_prompt, tokenizer_hash
from domino_lightning.synthesis import Sampling
from domino_lightning.testing import byte_tokenizer, save_tiny_backbone


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
    with pytest.raises(UserError, match=r"soft_prompt\.json: .*learned on backbone .*tiny.*other"):
        SoftPrompt.load(tmp_path / "tune", str(other))


def test_a_copy_of_the_backbone_elsewhere_is_accepted(tmp_path: Path, tiny_backbone: Path) -> None:
    copy = save_tiny_backbone(tmp_path / "copy")
    assert torch.equal(SoftPrompt.load(export(tmp_path / "tune", tiny_backbone), str(copy)).domain, domain())


def test_another_tokenizer_on_the_same_weights_is_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    description = export(tmp_path / "tune", tiny_backbone) / "soft_prompt.json"
    more = byte_tokenizer()
    more.add_tokens(["<|new|>"])
    write_json(description, read_json(description) | {"tokenizer_hash": tokenizer_hash(more)})
    with pytest.raises(UserError, match=r"soft_prompt\.json: the tokenizer of '.*tiny' differs"):
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
