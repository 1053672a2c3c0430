"""FLOPs and sizes of a model against numbers worked out by hand, and against what a forward pass is really fed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domino_lightning.nn import TextBatch, choose_pairs, shared_prefix_nll
from domino_lightning.planning.flops import ModelShape, Sequences, fed_tokens, flops, model_shape, shared_sequences
from domino_lightning.testing import tiny_model

# Two layers: q and o 32×32, k and v 32×16, three of the MLP 32×64; four heads of 8, two of them of keys and values.
LINEAR = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)


def test_the_shape_of_a_tiny_llama_by_hand() -> None:
    shape = ModelShape.of(tiny_model("llama"))
    assert shape.linear == LINEAR
    assert shape.head == 259 * 32
    assert shape.attended == 4 * 4 * 8 * 2
    assert shape.cached == 2 * 2 * 8 * 2
    assert (shape.hidden, shape.vocabulary) == (32, 259)
    norms = (2 * 2 + 1) * 32
    assert shape.parameters == LINEAR + 2 * 259 * 32 + norms


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma3_text"])
def test_every_matrix_but_embeddings_counts_in_other_families(family: str) -> None:
    model = tiny_model(family)
    names = {name: p for name, p in model.base_model.named_parameters() if p.dim() > 1}
    embeddings = [p for name, p in names.items() if name.split(".")[-2] in {"embed_tokens", "wte", "wpe"}]
    assert embeddings
    expected = sum(p.numel() for p in names.values()) - sum(p.numel() for p in embeddings)
    assert ModelShape.of(model).linear == expected


def test_a_shape_is_read_without_weights(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded")
    )
    assert model_shape(str(tiny_backbone)) == ModelShape.of(tiny_model("llama"))


@pytest.mark.parametrize(("backward", "products", "attention"), [(0, 2, 1), (1, 4, 3), (2, 6, 3)])
def test_flops_forward_with_frozen_weights_and_with_all_gradients(backward: int, products: int, attention: int) -> None:
    shape = ModelShape.of(tiny_model("llama"))
    attended = 3 * 5 + (1 + 2 + 3)  # three tokens behind five
    expected = products * (LINEAR * 3 + 32 * 259 * 2) + attention * (4 * 4 * 8 * 2) * attended
    assert flops(shape, [Sequences(1, 3, 5, 2)], backward) == expected
    assert flops(shape, [Sequences(7, 3, 5, 2)], backward) == 7 * expected


@pytest.mark.parametrize(("pairs", "K"), [("none", 0), ("own", 1), ("all", 3), (1, 2)])
def test_a_step_is_fed_what_is_counted_but_for_each_texts_last_token(pairs: object, K: int) -> None:
    backbone = tiny_model("llama").requires_grad_(False)
    fed: list[int] = []
    backbone.model.layers[0].register_forward_hook(lambda _, args, __: fed.append(args[0].shape[1]))
    B, D, S, L = 3, 4, 2, 6
    batch = TextBatch(
        torch.randint(1, 259, (B, L)), torch.full((B,), L), torch.arange(B), torch.ones(B, dtype=torch.bool)
    )
    index = choose_pairs(batch.samples, batch.valid, pairs, seed=0, step=0)  # type: ignore[arg-type]
    samples = torch.randn(B, S, 32) if index is not None else None
    shared_prefix_nll(backbone, torch.randn(D, 32), batch, [], samples, index)
    # The last token of a text predicts nothing that is scored.
    assert sum(fed) == fed_tokens(shared_sequences(B, D, S, L, K)) - B * (1 + K)
