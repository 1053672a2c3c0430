"""The bytes of a step, predicted on the meta device, against what the CPU's allocator gave out in a real step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.data.padded import ChatBatch, TextBatch
from domino_lightning.modules import CoderModule, Lora
from domino_lightning.nn import choose_pairs, shared_prefix_nll
from domino_lightning.planning.step_memory import (
    AliveBytes,
    predicted_coder_peak,
    predicted_peak,
    shapes_of,
    weight_bytes,
)
from domino_lightning.testing import tiny_model
from tests.nn.allocated import peak_bytes

# Wide enough that what counts is activations; one head of keys a head, as the CPU's kernel repeats none.
WIDE = {"hidden_size": 64, "intermediate_size": 160, "num_key_value_heads": 4, "num_hidden_layers": 3}
D, S, L = 6, 4, 40


def texts(count: int) -> TextBatch:
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 250, (count, L), generator=random)
    return TextBatch(ids, torch.full((count,), L), torch.arange(count), torch.ones(count, dtype=torch.bool))


def step(model: Any, count: int, mode: Any, micro: int | None) -> None:
    domain = torch.randn(D, 64, requires_grad=True)
    samples = torch.randn(count, S, 64, requires_grad=True)
    batch = texts(count)
    pairs = choose_pairs(batch.samples, batch.valid, mode, seed=0, step=0)
    under_domain, paired = shared_prefix_nll(model, domain, batch, [], samples, pairs, pair_micro_batch=micro)
    (under_domain.mean() if paired is None else under_domain.mean() + paired.mean()).backward()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "K", "micro"),
    [("none", 0, None), ("none", 0, 1), ("all", 4, None), ("all", 4, 2), (1, 2, None), (1, 2, 2)],
)
def test_the_peak_of_a_tune_step_is_what_the_allocator_gives_out(mode: Any, K: int, micro: int | None) -> None:
    model = tiny_model("llama", **WIDE).requires_grad_(False)
    step(model, 2, mode, micro)  # what is allocated once and kept
    measured = peak_bytes(lambda: step(model, 4, mode, micro)) + sum(p.nbytes for p in model.parameters())
    predicted = predicted_peak(model.config, 4, D, S, L, K, "float32", micro)
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["in full", "adapter"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
def test_the_peak_of_a_coders_step_is_what_the_allocator_gives_out(lora: Lora | None, again: bool) -> None:
    def module() -> CoderModule:
        made = CoderModule("none", lora=lora, gradient_checkpointing=again)
        made.attach(tiny_model("llama", **WIDE))
        return made

    coder = module()
    batch = ChatBatch(texts(8).ids, torch.full((8,), L), torch.full((8,), L - 20), torch.ones(8, dtype=torch.bool))
    coder.answer_nll(batch).mean().backward()
    coder.zero_grad()
    measured = peak_bytes(lambda: coder.answer_nll(batch).mean().backward())
    measured += sum(p.nbytes + 8 * p.numel() * p.requires_grad for p in coder.parameters())
    config = tiny_model("llama", **WIDE).config
    predicted = predicted_coder_peak(config, 8, L, 20, lora, "float32", again)
    assert predicted == pytest.approx(measured, rel=0.1)


def test_what_is_alive_after_the_forward_pass_is_what_autograd_saved() -> None:
    model = tiny_model("llama", **WIDE).requires_grad_(False)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch, domain = texts(4), torch.randn(D, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = shared_prefix_nll(model, domain, batch, [])
    meta = shapes_of(model.config, "float32").requires_grad_(False)
    domain = torch.empty(D, 64, device="meta", requires_grad=True)
    with AliveBytes() as alive:
        held = shared_prefix_nll(meta, domain, batch, [])
        assert alive.now == pytest.approx(sum(saved.values()), rel=0.05)
        assert alive.peak > alive.now
    del kept
    with AliveBytes() as later:
        del held
    assert later.now == 0


@pytest.mark.slow
@pytest.mark.parametrize("micro", [None, 1])
def test_two_shallow_models_tell_a_deep_one(micro: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_model("gemma3_text", head_dim=8, num_hidden_layers=6).config
    quick = predicted_peak(config, 3, D, S, L, 3, "bfloat16", micro)
    monkeypatch.setattr("domino_lightning.planning.step_memory.SHALLOW", (2, 6))
    assert quick == pytest.approx(predicted_peak(config, 3, D, S, L, 3, "bfloat16", micro), rel=0.02)


def test_a_weight_takes_four_two_or_about_half_a_byte() -> None:
    config = tiny_model("llama", **WIDE, tie_word_embeddings=False).config
    numbers = sum(p.numel() for p in shapes_of(config, "float32").parameters())
    assert weight_bytes(shapes_of(config, "float32"), "float32") == 4 * numbers
    assert weight_bytes(shapes_of(config, "bfloat16"), "bfloat16") == 2 * numbers
    # By hand: three layers of 4 · 64² and 3 · 64 · 160 weights in 4 bits and a byte in 64; the rest in bfloat16.
    linear, largest = 3 * (4 * 64 * 64 + 3 * 64 * 160), 64 * 160
    expected = linear * (0.5 + 1 / 64) + 2 * (numbers - linear) + 2 * largest
    assert weight_bytes(shapes_of(config, "nf4"), "nf4") == expected
