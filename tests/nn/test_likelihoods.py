"""The self-check: which families share prefixes, what a broken one is told, and that its numbers stay right."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.models import attention
from domino_lightning.nn import Likelihoods, TextBatch, choose_pairs, naive_nll, tree_attention
from domino_lightning.nn.likelihoods import _tolerance
from domino_lightning.testing import tiny_model

BATCH = TextBatch(
    torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0], [11, 12, 13, 0]]),
    torch.tensor([4, 2, 3]),
    torch.arange(3),
    torch.ones(3, dtype=torch.bool),
)


def prompts() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(4, 32, generator=random), torch.randn(3, 2, 32, generator=random)


def broken_positions() -> Any:
    """A llama that counts positions by itself, as if the packed row were one sequence: wrong, without any error."""
    backbone = tiny_model("llama").requires_grad_(False)
    forward = backbone.model.forward
    backbone.model.forward = lambda **inputs: forward(**{**inputs, "position_ids": None})
    return backbone


@pytest.mark.parametrize(
    ("family", "settings"),
    [("llama", {}), ("qwen2", {}), ("qwen3", {"head_dim": 8}), ("gemma3_text", {"head_dim": 8}), ("mistral", {})]
    + [("gpt2", {}), ("granite", {}), ("cohere", {}), ("phi3", {}), ("olmo2", {}), ("gpt_neox", {})],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_families_that_share_prefixes(
    family: str, settings: dict[str, Any], dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = tiny_model(family, **settings).to(dtype).requires_grad_(False)
    likelihoods = Likelihoods(backbone, [2])
    with torch.no_grad():
        likelihoods(prompts()[0], BATCH)
    assert likelihoods.shared is True
    assert not caplog.records


@pytest.mark.parametrize(
    ("backbone", "fault"),
    [
        (broken_positions, "differs by"),
        (lambda: tiny_model("gemma2", head_dim=8), "softcap"),
        (lambda: tiny_model("gptj", rotary_dim=4), "2 of 2 layers"),  # its attention is its own
        (lambda: tiny_model("bloom"), "2 of 2 layers"),
    ],
    ids=["positions", "gemma2", "gptj", "bloom"],
)
def test_a_family_that_disagrees_is_named_and_encoded_whole(
    backbone: Any, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = backbone().requires_grad_(False)
    domain, samples = prompts()
    pairs = choose_pairs(BATCH.samples, BATCH.valid, "all", seed=0, step=0)
    likelihoods = Likelihoods(model, [2])
    with caplog.at_level(logging.WARNING):
        results = [likelihoods(domain, BATCH, samples, pairs) for _ in range(2)]
    assert likelihoods.shared is False
    (record,) = caplog.records  # told once
    assert f"'{model.config.model_type}'" in record.getMessage()
    assert fault in record.getMessage()
    for got in results:
        for a, b in zip(got, naive_nll(model, domain, BATCH, [2], samples, pairs), strict=True):
            assert a is not None
            assert torch.equal(a, b)


def test_a_gradient_that_does_not_reach_the_prefix_is_a_fault() -> None:
    backbone = tiny_model("llama").requires_grad_(False)
    attention = backbone.model.layers[1].self_attn
    project = attention.k_proj.forward
    attention.k_proj.forward = lambda hidden: project(hidden).detach() if hidden.shape[0] == 1 else project(hidden)
    fault = Likelihoods(backbone, []).disagreement(prompts()[0])
    assert fault is not None
    assert "gradient of the" in fault


def test_the_check_works_within_inference_mode_as_in_validation() -> None:
    likelihoods = Likelihoods(tiny_model("qwen2").requires_grad_(False), [])
    with torch.inference_mode():
        likelihoods(prompts()[0], BATCH)
    assert likelihoods.shared is True


def test_the_check_runs_under_the_autocast_of_the_call() -> None:
    likelihoods = Likelihoods(tiny_model("llama").requires_grad_(False), [])
    with torch.autocast("cpu", torch.bfloat16):
        likelihoods(prompts()[0], BATCH)
    assert likelihoods.shared is True


def test_the_check_leaves_no_gradient_on_the_prompts() -> None:
    domain = prompts()[0].requires_grad_()
    Likelihoods(tiny_model("llama").requires_grad_(False), []).disagreement(domain)
    assert domain.grad is None


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mistral", {"sliding_window": 40}),
        ("phi3", {"sliding_window": 100}),
        ("qwen2_moe", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 2, "num_experts": 4}),
    ],
)
def test_the_check_looks_beyond_windows(family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # Wide weights, so that it matters to whom a token attends.
    model = tiny_model(family, initializer_range=0.2, **settings).requires_grad_(False)
    assert Likelihoods(model, [2]).disagreement(prompts()[0]) is None

    def without_windows(*args: Any) -> Tensor:
        return attention.causal_attention(*args[:-1], attention.View(lambda row, head, query, key: key <= query, None))

    monkeypatch.setattr(tree_attention, "causal_attention", without_windows)
    fault = Likelihoods(model, [2]).disagreement(prompts()[0])
    assert fault is not None
    assert "nats/token" in fault


def test_the_check_stays_short_where_windows_are_long() -> None:
    seen: list[int] = []
    model = tiny_model("mistral", sliding_window=4096).requires_grad_(False)
    model.model.layers[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    assert Likelihoods(model, []).disagreement(prompts()[0]) is None
    assert max(seen) < 200


@pytest.mark.parametrize(("name", "unit"), [("ieee", 2**-23), ("tf32", 2**-10), ("bf16", 2**-7)])
def test_products_of_lower_precision_are_rounding_and_no_disagreement(
    name: str, unit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Products:
        fp32_precision = name

    monkeypatch.setattr(torch.backends.mkldnn, "matmul", Products)
    backbone = tiny_model("llama")
    assert _tolerance(backbone, torch.device("cpu")) == unit**0.5
    with torch.autocast("cpu", torch.bfloat16):
        assert _tolerance(backbone, torch.device("cpu")) == 2**-3.5
    assert _tolerance(backbone.double(), torch.device("cpu")) == 2**-11.5
