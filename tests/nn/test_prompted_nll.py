"""NLL under soft prompts against one text at a time through the whole model, with labels made by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from domino_lightning.nn import TextBatch, chunked_nll, prompted_nll
from domino_lightning.testing import byte_tokenizer, tiny_model

EOS = 0
TEXTS = ["f(1)", "x", "a longer text, with more tokens", "ab" * 9]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {},
    # Heads that do more than a product, and a window shorter than the texts.
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.25},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 3.0},
}


@cache
def model(family: str) -> Any:
    return tiny_model(family, **FAMILIES[family])


def encoded(texts: list[str], eos: bool = True) -> list[list[int]]:
    tokenizer = byte_tokenizer()
    return [[*tokenizer(text).input_ids, *([EOS] if eos else [])] for text in texts]


def batch_of(rows: list[list[int]], pad: int = EOS, extra: int = 0) -> TextBatch:
    longest = max(map(len, rows)) + extra
    return TextBatch(
        ids=torch.tensor([row + [pad] * (longest - len(row)) for row in rows]),
        lengths=torch.tensor([len(row) for row in rows]),
        samples=torch.arange(len(rows)),
        valid=torch.ones(len(rows), dtype=torch.bool),
    )


def prompts_for(count: int, length: int = 3) -> Tensor:
    return torch.randn(count, length, 32, generator=torch.Generator().manual_seed(length))


def one_at_a_time(family: str, prompts: Tensor, rows: list[list[int]], bos: list[int]) -> Tensor:
    """The model's own loss on `bos prompt text`, everything before the text labelled -100."""
    embed = model(family).get_input_embeddings()
    losses = []
    for prompt, row in zip(prompts, rows, strict=True):
        inputs = torch.cat([embed(torch.tensor(bos, dtype=torch.long)), prompt, embed(torch.tensor(row))])
        labels = torch.tensor([-100] * (len(bos) + len(prompt)) + row)
        losses.append(model(family)(inputs_embeds=inputs[None], labels=labels[None], use_cache=False).loss)
    return torch.stack(losses)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bos", [[], [2]], ids=["no bos", "bos"])
def test_ragged_batch_equals_the_whole_model_one_text_at_a_time(family: str, bos: list[int]) -> None:
    rows = encoded(TEXTS)
    prompts = prompts_for(len(rows)).requires_grad_()
    nll = prompted_nll(model(family), prompts, batch_of(rows), bos)
    expected = one_at_a_time(family, prompts, rows, bos)
    assert nll.dtype == torch.float32
    assert torch.allclose(nll, expected, atol=2e-6, rtol=1e-5)
    weights = torch.tensor([0.1, -2.0, 0.7, 1.0])
    got, wanted = (torch.autograd.grad((value * weights).sum(), prompts)[0] for value in (nll, expected))
    assert torch.allclose(got, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_extra_right_padding_changes_neither_value_nor_gradient(family: str) -> None:
    rows = encoded(TEXTS[:2])
    results = []
    for extra in (0, 11):
        prompts = prompts_for(2).requires_grad_()
        nll = prompted_nll(model(family), prompts, batch_of(rows, extra=extra), [2])
        results.append((nll, torch.autograd.grad(nll.sum(), prompts)[0]))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


@pytest.mark.parametrize("pad", [EOS, 7, -100, 10**6])
def test_pads_are_told_by_length_whatever_id_they_have(pad: int) -> None:
    # EOS as pad id is SmolLM2's case; the others are no token of the text, or no token at all.
    rows = encoded(TEXTS)
    prompts = prompts_for(len(rows))
    with torch.no_grad():
        nll = prompted_nll(model("llama"), prompts, batch_of(rows, pad=pad), [])
        expected = one_at_a_time("llama", prompts, rows, [])
    assert torch.allclose(nll, expected, atol=2e-6)


def test_an_eos_inside_the_text_is_scored_like_any_token() -> None:
    rows = [[5, EOS, 6, EOS], [EOS]]
    with torch.no_grad():
        nll = prompted_nll(model("llama"), prompts_for(2), batch_of(rows), [])
        expected = one_at_a_time("llama", prompts_for(2), rows, [])
    assert torch.allclose(nll, expected, atol=2e-6)


@torch.no_grad()
def test_the_eos_that_ends_a_text_is_scored_and_a_truncated_text_has_none() -> None:
    whole, cut = encoded(["f(1)"])[0], encoded(["f(1)"], eos=False)[0]
    prompts = prompts_for(1)
    with_eos = prompted_nll(model("llama"), prompts, batch_of([whole]), []).item() * len(whole)
    without = prompted_nll(model("llama"), prompts, batch_of([cut]), []).item() * len(cut)
    inputs = torch.cat([prompts[0], model("llama").get_input_embeddings()(torch.tensor(cut))])
    logits = model("llama")(inputs_embeds=inputs[None]).logits[0, -1]
    assert with_eos - without == pytest.approx(-F.log_softmax(logits, dim=-1)[EOS].item(), abs=1e-4)


@torch.no_grad()
def test_the_first_token_is_predicted_from_the_last_prompt_position() -> None:
    prompts = prompts_for(1)
    logits = model("llama")(inputs_embeds=prompts).logits[0, -1]
    for token in (3, 77, EOS):
        nll = prompted_nll(model("llama"), prompts, batch_of([[token]]), [])
        assert nll.item() == pytest.approx(-F.log_softmax(logits, dim=-1)[token].item(), abs=1e-5)


@torch.no_grad()
def test_bos_stands_before_the_prompt_and_changes_the_likelihood() -> None:
    rows = encoded(["f(1)"])
    with_bos = prompted_nll(model("llama"), prompts_for(1), batch_of(rows), [2])
    assert torch.allclose(with_bos, one_at_a_time("llama", prompts_for(1), rows, [2]), atol=2e-6)
    assert not torch.allclose(with_bos, prompted_nll(model("llama"), prompts_for(1), batch_of(rows), []), atol=1e-4)


def test_the_prompt_gets_a_gradient_and_a_frozen_backbone_none() -> None:
    backbone = tiny_model().requires_grad_(False)
    prompts = prompts_for(2).requires_grad_()
    prompted_nll(backbone, prompts, batch_of(encoded(TEXTS[:2])), []).sum().backward()
    assert prompts.grad is not None
    assert (prompts.grad.abs().sum(dim=(1, 2)) > 0).all()
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_each_texts_nll_depends_on_its_own_prompt_alone() -> None:
    prompts = prompts_for(3).requires_grad_()
    nll = prompted_nll(model("llama"), prompts, batch_of(encoded(TEXTS[:3])), [])
    (gradient,) = torch.autograd.grad(nll[1], prompts)
    assert gradient[1].abs().sum() > 0
    assert gradient[0].abs().sum() == gradient[2].abs().sum() == 0


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("rows_of_logits", [1, 5, 16, 17])
def test_chunked_head_equals_the_whole_one_in_value_and_gradient(family: str, rows_of_logits: int) -> None:
    random = torch.Generator().manual_seed(1)
    hidden = torch.randn(17, 32, generator=random)
    targets = torch.randint(0, 259, (17,), generator=random)
    weights = torch.randn(17, generator=random)
    results = []
    for size in (rows_of_logits * 4 * 259, 1 << 30):
        leaf = hidden.clone().requires_grad_()
        head = model(family).get_output_embeddings().weight.requires_grad_()
        nll = chunked_nll(model(family), leaf, targets, logits_bytes=size)
        results.append((nll, *torch.autograd.grad((nll * weights).sum(), [leaf, head])))
    for chunked, whole in zip(*results, strict=True):
        assert torch.allclose(chunked, whole, atol=1e-5)
    assert results[0][0].shape == (17,)


def test_no_more_logits_than_allowed_are_alive_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    head = model("llama").get_output_embeddings()
    hook = head.register_forward_hook(lambda _, __, logits: rows.append(len(logits)))
    try:
        chunked_nll(model("llama"), torch.randn(20, 32), torch.zeros(20, dtype=torch.long), 6 * 4 * 259)
    finally:
        hook.remove()
    assert rows == [6, 6, 6, 2]


def test_no_scored_token_at_all_gives_an_empty_result_with_a_gradient() -> None:
    hidden = torch.zeros(0, 32, requires_grad=True)
    nll = chunked_nll(model("llama"), hidden, torch.zeros(0, dtype=torch.long))
    assert nll.shape == (0,)
    nll.sum().backward()
    assert hidden.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows_of_logits", [1, 5, 17])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_head_gives_the_value_and_gradient_of_cross_entropy(
    family: str, rows_of_logits: int, dtype: torch.dtype
) -> None:
    backbone = tiny_model(family, **FAMILIES[family]).to(dtype).requires_grad_(False)
    random = torch.Generator().manual_seed(1)
    hidden = (3 * torch.randn(17, 32, generator=random)).to(dtype)
    targets = torch.randint(0, 259, (17,), generator=random)
    leaf, other = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    nll = chunked_nll(backbone, leaf, targets, logits_bytes=rows_of_logits * 4 * 259)
    # The model's own logits, from the same hidden states.
    backbone.base_model.forward = lambda *_, **__: BaseModelOutputWithPastAndCrossAttentions(
        last_hidden_state=other[None]
    )
    logits = backbone(input_ids=torch.zeros(1, 17, dtype=torch.long)).logits[0]
    wanted = F.cross_entropy(
        logits.to(torch.float64 if dtype == torch.float64 else torch.float32), targets, reduction="none"
    )
    assert nll.dtype == wanted.dtype
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.02}[dtype]
    assert torch.allclose(nll, wanted, rtol=tolerance, atol=tolerance)
    weights = torch.randn(17, generator=random).to(nll.dtype)
    (got,), (expected,) = (
        torch.autograd.grad((value * weights).sum(), x) for value, x in ((nll, leaf), (wanted, other))
    )
    assert got.dtype == dtype
    assert (got - expected).norm() <= tolerance * expected.norm()


def test_a_frozen_head_is_run_once_for_value_and_gradient_and_keeps_no_logits() -> None:
    backbone = tiny_model().requires_grad_(False)
    rows: list[int] = []
    backbone.get_output_embeddings().register_forward_hook(lambda _, __, logits: rows.append(len(logits)))
    hidden = torch.randn(20, 32, requires_grad=True)
    saved: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nll = chunked_nll(backbone, hidden, torch.zeros(20, dtype=torch.long), 6 * 4 * 259)
    nll.sum().backward()
    assert rows == [6, 6, 6, 2]
    assert max(n for n in saved if n != backbone.lm_head.weight.numel()) <= 6 * 32


def test_a_surprising_token_has_a_finite_likelihood_and_gradient() -> None:
    # exp of the difference underflows to 0 in float32: the value must not come from it.
    backbone = tiny_model().requires_grad_(False)
    hidden = (1e4 * backbone.get_output_embeddings().weight[7:8].detach()).requires_grad_()
    nll = chunked_nll(backbone, hidden, torch.tensor([3]))
    with torch.no_grad():
        logits = backbone.get_output_embeddings()(hidden)
    assert nll.item() == pytest.approx((logits.max() - logits[0, 3]).item())
    assert nll.item() > 110
    (gradient,) = torch.autograd.grad(nll.sum(), hidden)
    assert gradient.isfinite().all()
    assert gradient.norm() > 0
