"""Tokens are drawn with the probabilities that temperature, nucleus and min-p leave, from noise keyed by row."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from domino_lightning.generation import drawing
from domino_lightning.generation.drawing import draw, penalize, row_noise
from domino_lightning.generation.sampling import Sampling


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
    return torch.bincount(draw(logits, uniforms, sampling), minlength=len(probabilities)).tolist()


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
    assert int(draw(logits, uniforms, Sampling(1.0))) in {1, 2}


def test_temperature_zero_takes_the_largest_logit() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    assert draw(logits, torch.tensor([0.9, 0.9]), Sampling(0.0)).tolist() == [1, 0]


def test_min_p_keeps_tokens_within_a_share_of_the_likeliest() -> None:
    counts = draws([0.5, 0.3, 0.15, 0.05], Sampling(1.0, min_p=0.4))
    assert counts[2:] == [0, 0]
    assert sum((count - want) ** 2 / want for count, want in zip(counts, (18_750, 11_250), strict=False)) < 10.8


def test_the_nucleus_is_exact_where_it_is_wider_than_the_first_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(5, 700, generator=torch.Generator().manual_seed(0)) / 5  # nearly flat
    uniforms = torch.linspace(0, 0.999, 5, dtype=torch.float64)
    narrow = draw(logits, uniforms, Sampling(1.0, 0.95))
    monkeypatch.setattr(drawing, "NUCLEUS_GUESS", 0.0)
    assert torch.equal(narrow, draw(logits, uniforms, Sampling(1.0, 0.95)))
    probabilities = logits.double().softmax(-1)
    ordered, index = probabilities.sort(-1, descending=True)
    kept = torch.zeros_like(probabilities).scatter(-1, index, ordered * (ordered.cumsum(-1) - ordered < 0.95))
    cumulative = kept.cumsum(-1)
    expected = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True).squeeze(1)
    assert torch.equal(narrow, expected)


@pytest.mark.parametrize("width", [3, 256, 257, 1000])
def test_a_token_is_where_the_cumulative_probability_passes_the_uniform(width: int) -> None:
    logits = torch.randn(64, width, generator=torch.Generator().manual_seed(width))
    uniforms = torch.rand(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cumulative = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    expected = torch.searchsorted(cumulative, uniforms[:, None], right=True).squeeze(1)
    assert torch.equal(draw(logits, uniforms, Sampling(1.0)), expected)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_only_tokens_with_weight_are_drawn_in_a_wide_vocabulary(uniform: float) -> None:
    logits = torch.full((1, 2000), float("-inf"))
    logits[0, [300, 1500]] = 0.0
    drawn = int(draw(logits, torch.tensor([uniform], dtype=torch.float64), Sampling(1.0)))
    assert drawn == (300 if uniform < 0.5 else 1500)


def test_a_penalty_lowers_seen_tokens_as_transformers_does() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.1, 0.2, -0.3, 4.0]])
    ids = torch.tensor([[0, 1], [3, 3]])
    seen = torch.zeros(2, 4, dtype=torch.bool).scatter_(1, ids, True)
    assert torch.equal(penalize(logits, seen, 1.3), RepetitionPenaltyLogitsProcessor(1.3)(ids, logits))  # type: ignore[arg-type]
