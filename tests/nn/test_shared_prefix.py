"""The shared-prefix forward against every sequence encoded whole: values, gradients of D and S, memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.losses.base import Pairs
from domino_lightning.nn import PairIndex, TextBatch, choose_pairs, naive_nll, shared_prefix_nll
from domino_lightning.testing import tiny_model
from tests.nn.allocated import peak_bytes

# Behind a prefix of 5 to 9 tokens, windows of 4 to 8 hide part of it, 40 never matters, 12 matters to some.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, one head of keys": ("llama", {"num_key_value_heads": 1}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "gemma3, short window": ("gemma3_text", {"head_dim": 8, "sliding_window": 4, "num_hidden_layers": 6}),
    "gemma3, long window": ("gemma3_text", {"head_dim": 8, "sliding_window": 40, "final_logit_softcapping": 3.0}),
    "mistral, short window": ("mistral", {"sliding_window": 6}),
    "mistral, window within the texts": ("mistral", {"sliding_window": 12}),
    "mistral, long window": ("mistral", {"sliding_window": 64}),
    "qwen2, windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-moe, windows told by the mask alone": (
        "qwen2_moe",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2, "num_experts": 4, "head_dim": 8}
        | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts_per_tok": 4}
        | {"experts_implementation": "eager"},  # grouped matmul knows no float64
    ),
    "phi3": ("phi3", {"sliding_window": 8}),
    "starcoder2": ("starcoder2", {"sliding_window": 7}),
    "cohere2": ("cohere2", {"sliding_window": 5, "head_dim": 8}),
    "gpt2": ("gpt2", {}),
}
LENGTHS = (9, 1, 17, 5)
BOS = 2


@cache
def model(family: str, dtype: torch.dtype = torch.float64) -> Any:
    kind, settings = FAMILIES[family]
    return tiny_model(kind, **settings).to(dtype).requires_grad_(False)


def ragged(lengths: tuple[int, ...] = LENGTHS, samples: tuple[int, ...] = (4, 7, 5, 6), padding: int = 0) -> TextBatch:
    """Right-padded random texts; the pads are no token of the vocabulary. The last rows pad a ragged rank."""
    random = torch.Generator().manual_seed(3)
    ids = torch.full((len(lengths) + padding, max(lengths)), -100)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(0, 259, (length,), generator=random)
    ids[len(lengths) :, 0] = 0
    return TextBatch(
        ids,
        torch.tensor([*lengths, *[1] * padding]),
        torch.tensor([*samples[: len(lengths)], *[0] * padding]),
        torch.tensor([True] * len(lengths) + [False] * padding),
    )


def prompts(dtype: torch.dtype, count: int, S: int = 3, D: int = 5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    domain = torch.randn(D, 32, generator=random).to(dtype).requires_grad_()
    return domain, torch.randn(count, S, 32, generator=random).to(dtype).requires_grad_()


def results(forward: Any, backbone: Any, batch: TextBatch, pairs: PairIndex | None, **options: Any) -> list[Tensor]:
    """NLL under D, NLL of the pairs, and the gradients of D and S of a loss that weighs every entry differently."""
    bos = options.pop("bos", [BOS])
    domain, samples = prompts(backbone.dtype, options.pop("count", len(batch.ids)))
    under_domain, paired = forward(backbone, domain, batch, bos, samples, pairs, **options)
    random = torch.Generator().manual_seed(11)
    loss = (torch.randn(under_domain.shape, generator=random) * under_domain).sum()
    if paired is None:
        return [under_domain.detach(), torch.autograd.grad(loss, domain)[0]]
    loss = loss + (torch.randn(paired.shape, generator=random) * paired).sum()
    return [under_domain.detach(), paired.detach(), *torch.autograd.grad(loss, [domain, samples])]


def assert_same(got: list[Tensor], wanted: list[Tensor], value: float, gradient: float) -> None:
    """Values to `value`, gradients to `gradient` of their norm."""
    assert len(got) == len(wanted)
    middle = len(got) // 2
    for a, b in zip(got[:middle], wanted[:middle], strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= value
    for a, b in zip(got[middle:], wanted[middle:], strict=True):
        assert b.norm() > 0
        assert (a - b).norm() <= gradient * b.norm()


@pytest.mark.parametrize("bos", [[BOS], []], ids=["bos", "no bos"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_to_1e9_and_gradients_to_1e6_in_float64(family: str, bos: list[int]) -> None:
    # Not tighter: RMSNorm and RoPE compute in float32 whatever the model's dtype.
    batch = ragged()
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    got, wanted = (results(f, model(family), batch, pairs, bos=bos) for f in (shared_prefix_nll, naive_nll))
    assert_same(got, wanted, value=1e-9, gradient=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_to_1e5_in_float32(family: str) -> None:
    batch, backbone = ragged(), model(family, torch.float32)
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    got, wanted = (results(f, backbone, batch, pairs) for f in (shared_prefix_nll, naive_nll))
    assert_same(got, wanted, value=1e-5, gradient=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_autocast_stays_within_its_own_rounding(family: str) -> None:
    # Two bf16 forwards that group the same sums differently; each is within 0.03 nats of float32 too.
    batch, backbone = ragged(), model(family, torch.float32)
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    exact = results(naive_nll, backbone, batch, pairs)
    with torch.autocast("cpu", torch.bfloat16):
        got, wanted = (results(f, backbone, batch, pairs) for f in (shared_prefix_nll, naive_nll))
    assert got[0].dtype == torch.float32
    assert not torch.equal(got[0], exact[0])
    assert_same(got, wanted, value=0.03, gradient=0.03)
    assert_same(got, exact, value=0.03, gradient=0.03)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("mode", ["none", "own", "all", 1, 2, 9])
@pytest.mark.parametrize("family", ["llama", "gemma3, short window"])
def test_every_mode_of_pairs_with_and_without_padding_rows(family: str, mode: Pairs, padding: int) -> None:
    batch = ragged(padding=padding)
    pairs = choose_pairs(batch.samples, batch.valid, mode, seed=1, step=2)
    got, wanted = (results(f, model(family), batch, pairs) for f in (shared_prefix_nll, naive_nll))
    assert len(got) == (2 if mode == "none" else 4)
    assert_same(got, wanted, value=1e-9, gradient=1e-6)
    assert (got[0][len(LENGTHS) :] == 0).all()


def test_another_copy_of_the_same_sample_is_not_computed() -> None:
    batch = ragged(samples=(4, 7, 4, 6))
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    assert pairs is not None
    assert int(pairs.valid.sum()) == 14
    got, wanted = (results(f, model("llama"), batch, pairs) for f in (shared_prefix_nll, naive_nll))
    assert_same(got, wanted, value=1e-9, gradient=1e-6)
    assert got[1][0, 2] == got[1][2, 0] == 0


def test_there_may_be_more_prompts_than_texts() -> None:
    # As on one rank of several, whose negatives come from all ranks.
    batch = ragged()
    prompt_row = torch.tensor([[2, 5], [3, 2], [4, 0], [5, 2]])
    pairs = PairIndex(prompt_row, torch.zeros(4, 2, dtype=torch.bool), torch.ones(4, 2, dtype=torch.bool))
    got, wanted = (results(f, model("qwen3"), batch, pairs, count=6) for f in (shared_prefix_nll, naive_nll))
    assert_same(got, wanted, value=1e-9, gradient=1e-6)
    assert (got[3][1] == 0).all()  # nobody's prompt


@pytest.mark.parametrize("lengths", [(6, 6, 6, 6), (1, 1), (8,)])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral, short window"])
def test_equal_lengths_one_token_and_one_text(family: str, lengths: tuple[int, ...]) -> None:
    batch = ragged(lengths)
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    got, wanted = (results(f, model(family), batch, pairs) for f in (shared_prefix_nll, naive_nll))
    assert_same(got, wanted, value=1e-9, gradient=1e-6)


@pytest.mark.parametrize("mode", ["none", "all", 1])
def test_a_batch_of_padding_is_zero_with_a_zero_gradient(mode: Pairs) -> None:
    batch = TextBatch(
        torch.zeros(2, 1, dtype=torch.long), torch.ones(2).long(), torch.zeros(2).long(), torch.zeros(2) > 0
    )
    pairs = choose_pairs(batch.samples, batch.valid, mode, seed=0, step=0)
    domain, samples = prompts(torch.float64, 2)
    under_domain, paired = shared_prefix_nll(model("llama"), domain, batch, [BOS], samples, pairs)
    loss = under_domain.sum() + (0 if paired is None else paired.sum())
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, domain)[0] == 0).all()


def test_extra_right_padding_changes_nothing_at_all() -> None:
    batch = ragged()
    wider = batch._replace(ids=torch.nn.functional.pad(batch.ids, (0, 11), value=5))
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    got, wanted = (results(shared_prefix_nll, model("llama"), texts, pairs) for texts in (wider, batch))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_the_backbone_sees_each_prefix_once_and_no_pad_and_no_last_token() -> None:
    seen: list[int] = []
    backbone = model("llama")
    hook = backbone.base_model.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    batch = ragged()
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    try:
        results(shared_prefix_nll, backbone, batch, pairs)
    finally:
        hook.remove()
    fed = sum(length - 1 for length in LENGTHS)
    assert seen == [1 + 5 + 4 * 3 + fed + 4 * fed]


def test_the_backbone_attends_as_before_afterwards_even_after_an_error() -> None:
    backbone = model("llama")
    before = backbone.config._attn_implementation
    results(shared_prefix_nll, backbone, ragged(), None)
    assert backbone.config._attn_implementation == before

    def stop(*_: Any) -> None:
        raise ArithmeticError

    hook = backbone.base_model.layers[1].register_forward_hook(stop)
    try:
        with pytest.raises(ArithmeticError):
            results(shared_prefix_nll, backbone, ragged(), None)
    finally:
        hook.remove()
    assert backbone.config._attn_implementation == before


@pytest.mark.parametrize("size", [1, 3, 5, 16, 100])
@pytest.mark.parametrize("family", ["qwen3", "gemma3, short window", "gpt2"])
def test_pair_micro_batches_give_the_same_values_and_gradients(family: str, size: int) -> None:
    batch = ragged()
    pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
    got = results(shared_prefix_nll, model(family), batch, pairs, pair_micro_batch=size)
    wanted = results(shared_prefix_nll, model(family), batch, pairs)
    assert_same(got, wanted, value=1e-9, gradient=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_micro_batches_of_texts_under_the_domain_alone_give_the_same_values_and_gradients(size: int) -> None:
    batch = ragged(padding=1)
    got = results(shared_prefix_nll, model("llama"), batch, None, pair_micro_batch=size)
    assert_same(got, results(shared_prefix_nll, model("llama"), batch, None), value=1e-9, gradient=1e-6)


def encoded_tokens(mode: Pairs, size: int | None) -> list[int]:
    """Tokens of every pass of the backbone in a step of four texts."""
    seen: list[int] = []
    backbone, batch = model("llama"), ragged()
    hook = backbone.base_model.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    pairs = choose_pairs(batch.samples, batch.valid, mode, seed=0, step=0)
    try:
        results(shared_prefix_nll, backbone, batch, pairs, pair_micro_batch=size)
    finally:
        hook.remove()
    return seen


def test_micro_batches_encode_texts_twice_and_prompts_once() -> None:
    fed = sum(length - 1 for length in LENGTHS)
    assert encoded_tokens("all", 4) == [1 + 5 + 4 * 3, *[fed] * 5, *[fed] * 5]
    assert encoded_tokens("none", 4) == encoded_tokens("none", None) == [1 + 5 + fed]
    first, second = LENGTHS[0] - 1 + LENGTHS[1] - 1, LENGTHS[2] - 1 + LENGTHS[3] - 1
    assert encoded_tokens("none", 2) == [1 + 5, first, second, second, first]


def test_a_micro_batch_that_holds_the_whole_batch_encodes_nothing_twice() -> None:
    fed = sum(length - 1 for length in LENGTHS)
    assert encoded_tokens("all", 20) == encoded_tokens("all", None) == [1 + 5 + 4 * 3 + fed + 4 * fed]


@pytest.mark.slow
def test_micro_batches_bound_memory_by_one_of_them() -> None:
    backbone = model("llama", torch.float32)

    def peak(count: int, size: int | None) -> int:
        batch = ragged((40,) * count, tuple(range(count)))
        pairs = choose_pairs(batch.samples, batch.valid, "all", seed=0, step=0)
        return peak_bytes(lambda: results(shared_prefix_nll, backbone, batch, pairs, pair_micro_batch=size))

    peak(2, None)  # what is allocated once and kept
    whole, bounded, twice = peak(8, None), peak(8, 8), peak(8, 16)
    # 8 texts under D and 64 pairs against a micro-batch of either: about 72 to 8, or to 16, beside 8 prompts.
    assert bounded < 0.2 * whole
    assert bounded < twice < 0.3 * whole
    # Four times the pairs in the same micro-batches, twice the texts under D.
    assert peak(16, 8) < 2 * bounded


def test_micro_batches_bound_the_memory_of_texts_under_the_domain_alone() -> None:
    backbone = model("llama", torch.float32)

    def peak(count: int, size: int | None) -> int:
        batch = ragged((40,) * count, tuple(range(count)))
        return peak_bytes(lambda: results(shared_prefix_nll, backbone, batch, None, pair_micro_batch=size))

    peak(2, None)  # what is allocated once and kept
    assert peak(32, 4) < 0.2 * peak(32, None)
