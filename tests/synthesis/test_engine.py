"""Decoding with a shared prefix gives what transformers gives, and noise keyed by row makes it repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.synthesis import engine
from domino_lightning.synthesis.engine import Decoded, Sampling, common_prefix, decode, row_noise
from domino_lightning.testing import tiny_model

VOCABULARY = 61
SLIDING = {"sliding_window": 6, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, Any]] = {"llama": {}, "gpt2": {}, "qwen2": {}, "gemma3_text": SLIDING}
PROMPTS = [[5, 9, 3], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24]]
NEW = 20


def soft_prefix(length: int = 7, hidden: int = 32) -> Tensor:
    return 0.5 * torch.randn(length, hidden, generator=torch.Generator().manual_seed(1))


def reference(model: Any, prefix: Tensor, prompt: Sequence[int]) -> list[int]:
    """Greedy tokens of transformers' own loop, on one prompt without padding."""
    own = model.get_input_embeddings()(torch.tensor(prompt, dtype=torch.long))
    embeds = torch.cat([prefix, own])[None].detach()
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    settings = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}
    ids: list[int] = model.generate(inputs_embeds=embeds, attention_mask=mask, **settings)[0].tolist()
    return ids


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param, vocabulary=VOCABULARY, **FAMILIES[request.param])


def greedy(model: Any, prompts: Sequence[Sequence[int]], eos: frozenset[int] = frozenset()) -> list[Decoded]:
    return decode(model, soft_prefix(), prompts, None, Sampling(0.0, 1.0, NEW), eos)


def test_greedy_equals_generate_for_ragged_prompts(model: Any) -> None:
    assert [row.ids for row in greedy(model, PROMPTS)] == [reference(model, soft_prefix(), p) for p in PROMPTS]


def test_greedy_equals_generate_from_the_prefix_alone(model: Any) -> None:
    assert [row.ids for row in greedy(model, [[], []])] == [reference(model, soft_prefix(), [])] * 2


def test_greedy_equals_generate_for_prompts_of_one_length(model: Any) -> None:
    prompts = [[3, 4, 5, 6], [9, 8, 7, 6]]
    assert [row.ids for row in greedy(model, prompts)] == [reference(model, soft_prefix(), p) for p in prompts]


def test_a_row_is_the_same_whatever_else_is_in_its_batch(model: Any) -> None:
    noise, sampling = row_noise(range(4), NEW, seed=3), Sampling(1.0, 0.9, NEW)
    together = decode(model, soft_prefix(), PROMPTS, noise, sampling, frozenset({4, 5, 6}))
    for row, prompt in enumerate(PROMPTS):
        alone = decode(model, soft_prefix(), [prompt], noise[row : row + 1], sampling, frozenset({4, 5, 6}))
        assert alone == [together[row]]


def test_eos_ends_a_row_and_is_no_part_of_it(model: Any) -> None:
    full = [row.ids for row in greedy(model, PROMPTS)]
    eos = full[0][5]
    for row, ids in zip(greedy(model, PROMPTS, frozenset({eos})), full, strict=True):
        stop = ids.index(eos) if eos in ids else NEW
        assert row == Decoded(ids[:stop], eos in ids)


def test_dropping_finished_rows_changes_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = row_noise(range(12), NEW, seed=0)
    prompts = [PROMPTS[row % 4] for row in range(12)]
    eos = frozenset(range(12))  # about one token in five ends a row
    results = []
    for share in (0.0, 0.75, 2.0):  # never, as usual, at every step
        monkeypatch.setattr(engine, "COMPACT_BELOW", share)
        results.append(decode(model, soft_prefix(), prompts, noise, Sampling(1.5, 1.0, NEW), eos))
    assert results[0] == results[1] == results[2]
    assert {row.finished for row in results[0]} == {True} or len({len(row.ids) for row in results[0]}) > 1


def test_a_row_that_reaches_the_limit_is_not_finished() -> None:
    row = greedy(tiny_model(vocabulary=VOCABULARY), [[1]])[0]
    assert (len(row.ids), row.finished) == (NEW, False)


def test_noise_depends_on_seed_and_row_alone() -> None:
    noise = row_noise([0, 1, 2, 9], 50, seed=5)
    assert torch.equal(row_noise([9, 1], 50, seed=5), noise[[3, 1]])
    assert torch.equal(row_noise([9], 10, seed=5)[0], noise[3, :10])
    assert not torch.equal(row_noise([9], 50, seed=6)[0], noise[3])
    assert len({float(row[0]) for row in noise}) == 4
    assert noise.dtype == torch.float64
    assert bool(((noise >= 0) & (noise < 1)).all())


def test_noise_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    row_noise(range(4), 10, seed=1)
    assert torch.equal(torch.rand(3), expected)


def draws(probabilities: Sequence[float], sampling: Sampling, count: int = 30_000) -> list[int]:
    logits = torch.tensor(probabilities).log().expand(count, -1)
    uniforms = torch.rand(count, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.bincount(engine._draw(logits, uniforms, sampling), minlength=len(probabilities)).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_tokens_are_drawn_with_the_models_probabilities(temperature: float) -> None:
    given = [0.5, 0.3, 0.2]
    weights = [p ** (1 / temperature) for p in given]
    expected = [30_000 * weight / sum(weights) for weight in weights]
    counts = draws(given, Sampling(temperature))
    chi_square = sum((count - want) ** 2 / want for count, want in zip(counts, expected, strict=True))
    assert chi_square < 13.8  # the 0.999 quantile for 2 degrees of freedom


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.85, [1, 3, 0]), (0.99, [1, 3, 0, 2])],
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: list[int]) -> None:
    given = [0.15, 0.5, 0.05, 0.3]
    counts = draws(given, Sampling(1.0, top_p))
    assert {token for token, count in enumerate(counts) if count} == set(kept)
    total = sum(given[token] for token in kept)
    expected = {token: 30_000 * given[token] / total for token in kept}
    assert sum((counts[token] - want) ** 2 / want for token, want in expected.items()) < 16.3  # 3 degrees


@pytest.mark.parametrize("uniform", [0.0, 0.25, 1 - 2**-53])
def test_a_token_without_probability_is_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    uniforms = torch.tensor([uniform], dtype=torch.float64)
    assert int(engine._draw(logits, uniforms, Sampling(1.0))) in {1, 2}


def test_temperature_zero_takes_the_largest_logit() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    assert engine._draw(logits, torch.tensor([0.9, 0.9]), Sampling(0.0)).tolist() == [1, 0]


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


def test_the_prefix_is_encoded_once_and_in_a_batch_of_one() -> None:
    model = tiny_model(vocabulary=VOCABULARY)
    shapes: list[tuple[int, ...]] = []
    forward = model.model.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("inputs_embeds")
        shapes.append(tuple((kwargs["input_ids"] if given is None else given).shape[:2]))
        return forward(*args, **kwargs)

    model.model.forward = spy
    decode(model, soft_prefix(), PROMPTS, None, Sampling(0.0, 1.0, 3), frozenset())
    assert shapes == [(1, 7), (4, 12), (4, 1), (4, 1)]
