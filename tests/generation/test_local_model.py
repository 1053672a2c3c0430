"""One model behind one interface: chats, texts, a soft prompt or an adapter, each laid out as its tokens say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.data.chat import encode_prompt
from domino_lightning.errors import UserError
from domino_lightning.generation.prompt_vectors import common_prefix
from domino_lightning.generation.prompts import end_ids
from domino_lightning.models.backbone import load_backbone, load_tokenizer
from domino_lightning.models.soft_prompt import save_soft_prompt
from domino_lightning.synthesis import ModelSource, Prompt, Sampling, TransformersEngine
from domino_lightning.testing import save_tiny_backbone
from domino_lightning.utils.jsonl import write_json

CHATS: list[Prompt] = [[{"role": "user", "content": text}] for text in ("two plus two", "two plus", "a")]
GREEDY = Sampling(0.0, max_new_tokens=9)


def domain() -> Tensor:
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def naive(model: Any, embeds: Tensor, stop: int = 0) -> list[int]:
    """Greedy tokens by encoding everything anew for every one of them."""
    ids: list[int] = []
    with torch.no_grad():
        while len(ids) < 9:
            token = int(model(inputs_embeds=embeds[None]).logits[0, -1].argmax())
            if token == stop:
                break
            ids.append(token)
            embeds = torch.cat([embeds, model.get_input_embeddings()(torch.tensor([token]))])
    return ids


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_chat_is_answered_after_its_template(tiny_backbone: Path, batch_size: int) -> None:
    model, tokenizer = load_backbone(str(tiny_backbone)), load_tokenizer(str(tiny_backbone))
    loaded = TransformersEngine(batch_size).load(ModelSource(str(tiny_backbone)))
    embed = model.get_input_embeddings()
    expected = [naive(model, embed(torch.tensor(encode_prompt(chat, tokenizer)))) for chat in CHATS]  # type: ignore[arg-type]
    sampled = loaded.complete(CHATS, range(3), 0, GREEDY)
    assert [each.text for each in sampled] == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert [each.num_tokens for each in sampled] == [len(ids) for ids in expected]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_a_text_is_continued_after_bos_and_the_domain_tokens(tmp_path: Path, bos: bool, soft: bool) -> None:
    spec = str(save_tiny_backbone(tmp_path / "backbone", bos=bos))
    model, tokenizer = load_backbone(spec), load_tokenizer(spec)
    save_soft_prompt(tmp_path, domain(), spec, tokenizer)
    source = ModelSource.of_soft_prompt(tmp_path) if soft else ModelSource(spec)
    texts = ["def f", "x"]
    embed = model.get_input_embeddings()
    for prompts in (texts, [*texts, ""], [""]):
        if not bos and not soft and "" in prompts:
            continue
        start = [embed(torch.tensor([2]))] * bos + [domain()] * soft
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in prompts]
        whole = [torch.cat([*start, embed(torch.tensor(each, dtype=torch.long))]) for each in ids]
        sampled = TransformersEngine().load(source).complete(prompts, range(len(prompts)), 0, GREEDY)
        expected = tokenizer.batch_decode([naive(model, each) for each in whole], skip_special_tokens=True)
        assert [each.text for each in sampled] == expected


def test_nothing_at_all_to_continue_is_refused(tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match="empty prompt"):
        TransformersEngine().load(ModelSource(str(tiny_backbone))).complete([""], [0], 0, GREEDY)
    assert TransformersEngine().load(ModelSource(str(tiny_backbone))).complete([], [], 0, GREEDY) == []


def test_vectors_of_a_rows_own_stand_after_the_domain_tokens(tiny_backbone: Path, tmp_path: Path) -> None:
    save_soft_prompt(tmp_path, domain(), str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    loaded = TransformersEngine().load(ModelSource.of_soft_prompt(tmp_path))
    own = [torch.randn(2, 32, generator=torch.Generator().manual_seed(row)) for row in (5, 6)]
    sampled = loaded.complete(["", ""], [0, 1], 0, GREEDY, sample_tokens=own)
    model = load_backbone(str(tiny_backbone))
    expected = [naive(model, torch.cat([domain(), each])) for each in own]
    assert [each.text for each in sampled] == loaded.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert expected[0] != expected[1]


def test_a_row_depends_on_its_number_and_the_seed_and_blocks_do_not_touch(tiny_backbone: Path) -> None:
    loaded, sampling = TransformersEngine(2).load(ModelSource(str(tiny_backbone))), Sampling(1.0, max_new_tokens=9)
    first = loaded.complete(CHATS, [4, 7, 9], 1, sampling)
    again = loaded.complete([CHATS[2], CHATS[0]], [9, 4], 1, sampling)
    assert again == [first[2], first[0]]
    assert loaded.complete(CHATS, [4, 7, 9], 1, sampling) == first
    assert loaded.complete(CHATS, [4, 7, 9], 2, sampling) != first


def test_a_coder_is_an_adapter_a_full_model_or_the_backbone(tmp_path: Path, tiny_backbone: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = str(tiny_backbone)
    for name, adapter in (("untouched", False), ("full", False), ("adapted", True)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "coder.json", {"base": base, "adapter": adapter})
    other = load_backbone(base)
    with torch.no_grad():
        other.lm_head.weight.neg_()  # type: ignore[union-attr, operator]
    other.save_pretrained(str(tmp_path / "full" / "model"))
    torch.manual_seed(0)
    strong = LoraConfig(target_modules="all-linear", lora_alpha=100, init_lora_weights=False)
    adapted = get_peft_model(load_backbone(base), strong)
    adapted.save_pretrained(str(tmp_path / "adapted" / "model"))

    prompts = encode_prompt(CHATS[0], load_tokenizer(base))  # type: ignore[arg-type]
    models = {"untouched": load_backbone(base), "full": other, "adapted": adapted}
    texts = set()
    for name, model in models.items():
        embeds = model.get_input_embeddings()(torch.tensor(prompts)).detach()
        loaded = TransformersEngine().load(ModelSource.of_coder(tmp_path / name))
        (sampled,) = loaded.complete(CHATS[:1], [0], 0, GREEDY)
        assert sampled.text == loaded.tokenizer.decode(naive(model, embeds), skip_special_tokens=True), name
        texts.add(sampled.text)
    assert len(texts) == 3


def test_every_end_that_the_model_names_ends_a_text(tiny_backbone: Path) -> None:
    model, tokenizer = load_backbone(str(tiny_backbone)), load_tokenizer(str(tiny_backbone))
    assert end_ids(tokenizer, model) == {0}
    model.generation_config.eos_token_id = [0, 7]  # type: ignore[union-attr]
    assert end_ids(tokenizer, model) == {0, 7}
    model.generation_config.eos_token_id = None  # type: ignore[union-attr]
    assert end_ids(tokenizer, model) == {0}


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="batch_size 0"):
        TransformersEngine(0)


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2], [1, 2]], 1),
        ([[1], [1, 2]], 0),
        ([[1, 2, 3], [4, 2, 3]], 0),
        ([[1, 2, 3]], 2),
    ],
)
def test_a_common_prefix_leaves_each_prompt_a_token(prompts: list[list[int]], shared: int) -> None:
    assert common_prefix(prompts) == shared
