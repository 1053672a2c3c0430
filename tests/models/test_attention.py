"""What a model's own code says about who sees whom, and models that do more than attend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.models import attention
from domino_lightning.models.attention import (
    Attention,
    UnsupportedAttention,
    View,
    causal_attention,
    replaced_attention,
    windows,
)
from domino_lightning.testing import tiny_model

MOE = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}


def causal(row: int, head: int, query: Tensor, key: Tensor) -> Tensor:
    return key <= query


def view(window: int | None = None) -> View:
    if window is None:
        return View(causal, None)
    return View(lambda row, head, query, key: (key <= query) & (key > query - window), window)


class Whole(Attention):
    """Attention within the given tokens, as the model would do it itself."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        return causal_attention(query, key, value, scale, view)


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("llama", {}, set()),
        ("mistral", {"sliding_window": 6}, {6}),
        ("qwen2", {"sliding_window": 6}, set()),  # off unless use_sliding_window
        ("qwen2", {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}, {6}),
        ("qwen2_moe", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 2, **MOE}, {32}),
        ("gemma3_text", {"sliding_window": 9, "head_dim": 8, "layer_types": ["full_attention"] * 2}, set()),
        ("llama4_text", {"attention_chunk_size": 12, "head_dim": 8, "num_local_experts": 2}, {12}),
    ],
)
def test_windows_are_what_the_models_masks_say(family: str, settings: dict[str, Any], expected: set[int]) -> None:
    model = tiny_model(family, **settings)
    before = model.config._attn_implementation
    assert windows(model) == expected
    assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("gemma2", {"head_dim": 8}, "softcap"),
        ("gpt_oss", {"head_dim": 8, "num_local_experts": 2}, "s_aux"),
        ("mamba", {}, "more than keys and values"),
        ("falcon_h1", {"head_dim": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64}, "more than keys"),
        ("bloom", {}, "2 of 2 layers mix tokens in a way of their own"),
        ("gptj", {"rotary_dim": 4}, "2 of 2 layers mix tokens in a way of their own"),
        ("bert", {}, "see later ones"),
    ],
)
def test_a_model_that_does_more_than_attend_is_named_with_what_it_does(
    family: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(UnsupportedAttention, match=f"'{family}'.*{told}"):
        windows(tiny_model(family, **settings))


def test_dropout_is_refused() -> None:
    model = tiny_model("llama", attention_dropout=0.1)
    assert windows(model) == set()
    with pytest.raises(UnsupportedAttention, match="dropout"):
        windows(model.train())


@pytest.mark.parametrize("family", ["llama", "mistral", "phi3", "cohere2"])
def test_attending_within_the_given_tokens_is_what_the_model_does(family: str) -> None:
    model = tiny_model(family, head_dim=8, sliding_window=5)
    embeds = torch.randn(2, 13, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(inputs_embeds=embeds).logits
        with replaced_attention(model):
            got = Whole().forward(model, embeds, torch.arange(13).expand(2, -1)).logits
    assert (got - wanted).abs().max() < 1e-6


def test_a_mask_hides_what_is_later_and_what_is_beyond_the_window() -> None:
    mask = view(2).mask(2, 4, torch.device("cpu"))
    assert mask is not None
    assert mask.tolist() == [[False, True, True, False], [False, False, True, True]]
    mask = view().mask(2, 4, torch.device("cpu"))
    assert mask is not None
    assert mask.tolist() == [[True, True, True, False], [True, True, True, True]]


@pytest.mark.parametrize("window", [None, 4, 5])
def test_no_mask_is_made_where_only_order_matters(window: int | None) -> None:
    assert view(window).mask(4, 4, torch.device("cpu")) is None


@pytest.mark.parametrize("window", [None, 1, 3, 40])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 6), (4, 6), (6, 6)])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_causal_attention_by_brute_force(window: int | None, queries: int, keys: int, heads: int) -> None:
    random = torch.Generator().manual_seed(5)
    query = torch.randn(2, 4, queries, 8, generator=random)
    key, value = (torch.randn(2, heads, keys, 8, generator=random) for _ in range(2))
    got = causal_attention(query, key, value, 0.3, view(window))
    assert got.shape == (2, 4, queries, 8)
    for row in range(2):
        for head in range(4):
            shared = head * heads // 4  # heads of keys serve runs of heads of queries
            for place in range(queries):
                at = keys - queries + place
                first = 0 if window is None else max(0, at - window + 1)
                scores = 0.3 * key[row, shared, first : at + 1] @ query[row, head, place]
                wanted = scores.softmax(0) @ value[row, shared, first : at + 1]
                assert (got[row, head, place] - wanted).abs().max() < 1e-5


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 8), (1, 6)])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (4, 1)])
def test_the_lower_right_triangle_of_the_flash_kernel_is_what_the_mask_says(
    queries: int, keys: int, heads: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(1)
    shapes = ((2, heads, queries, 8), (2, groups, keys, 8), (2, groups, keys, 8))
    parts = [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]
    results = []
    for flash in (False, True):
        monkeypatch.setattr(attention, "_takes_flash", lambda *_, flash=flash: flash)
        mixed = causal_attention(*parts, 0.3, view())
        results.append([mixed, *torch.autograd.grad(mixed.square().sum(), parts)])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


def test_flash_is_asked_for_in_half_precision_on_a_gpu_where_no_window_hides_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[torch.dtype] = []

    def takes(query: Tensor, *_: Any) -> bool:
        asked.append(query.dtype)
        return False

    monkeypatch.setattr(attention, "_takes_flash", takes)
    parts = [torch.randn(1, 2, 6, 4) for _ in range(3)]
    for window in (None, 3, 6):
        causal_attention(*parts, 0.5, view(window))
    assert asked == [torch.float32] * 2  # not under the window of three
    monkeypatch.undo()
    half = [torch.randn(1, 2, 6, 4, dtype=torch.bfloat16) for _ in range(3)]
    assert not attention._takes_flash(*half, False)  # on the CPU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_the_meta_device_attention_has_shapes_and_gradients(dtype: torch.dtype) -> None:
    shapes = ((2, 4, 3, 8), (2, 2, 7, 8), (2, 2, 7, 8))
    parts = [torch.empty(shape, dtype=dtype, device="meta", requires_grad=True) for shape in shapes]
    mixed = causal_attention(*parts, 0.3, view(2))
    assert (mixed.shape, mixed.dtype) == (shapes[0], dtype)
    assert [part.shape for part in torch.autograd.grad(mixed.sum(), parts)] == [torch.Size(each) for each in shapes]
