"""Domain tokens: where they are drawn from and what a subclass may change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from domino_lightning.nn import DomainPrompt
from domino_lightning.nn.domain_prompt import draw_tokens


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vocabulary(rows: int = 50, size: int = 6) -> Tensor:
    return torch.randn(rows, size, generator=seeded(9))


def rows_of(tokens: Tensor, table: Tensor) -> list[int]:
    """Which row of the table every token equals, bit for bit."""
    equal = (tokens[:, None] == table[None]).all(dim=-1)
    assert equal.sum(dim=1).tolist() == [1] * len(tokens)
    return equal.long().argmax(dim=1).tolist()


@pytest.mark.parametrize("count", [1, 8, 50])
def test_vocabulary_rows_are_distinct_rows_of_the_embedding_matrix(count: int) -> None:
    prompt = DomainPrompt(count)
    prompt.initialise(vocabulary(), seeded())
    rows = rows_of(prompt(), vocabulary())
    assert len(set(rows)) == count


def test_initialisation_is_seeded() -> None:
    for init in ("vocabulary", "normal"):
        first, again, other = (draw_tokens(vocabulary(), 8, init, seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_normal_initialisation_matches_mean_and_deviation_per_dimension() -> None:
    table = vocabulary(400) * torch.tensor([1.0, 2.0, 0.1, 5.0, 1.0, 1.0]) + torch.arange(6.0)
    tokens = draw_tokens(table, 20_000, "normal", seeded())
    # Errors of the estimates are σ/√n = 0.7 % and σ/√2n = 0.5 % of σ.
    assert ((tokens.mean(dim=0) - table.mean(dim=0)).abs() / table.std(dim=0)).max() < 0.04
    assert (tokens.std(dim=0) / table.std(dim=0) - 1).abs().max() < 0.03


def test_the_backbones_rows_are_copied_and_not_shared() -> None:
    table = vocabulary()
    prompt = DomainPrompt(50)
    prompt.initialise(table, seeded())
    with torch.no_grad():
        prompt.weight.zero_()
    assert torch.equal(table, vocabulary())


def test_a_half_precision_embedding_gives_float32_tokens() -> None:
    prompt = DomainPrompt(3)
    prompt.initialise(vocabulary().bfloat16(), seeded())
    assert prompt().dtype == torch.float32


def test_more_tokens_than_vocabulary_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="num_tokens 51 is more than the vocabulary's 50 rows"):
        draw_tokens(vocabulary(), 51, "vocabulary", seeded())


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="num_tokens must be 1 or more, not 0"):
        DomainPrompt(0)
    with pytest.raises(ValueError, match="'vocabulary' or 'normal', not 'zeros'"):
        draw_tokens(vocabulary(), 2, "zeros", seeded())  # type: ignore[arg-type]


def test_a_subclass_may_sample_its_tokens_and_still_export_them_without_noise() -> None:
    class Noisy(DomainPrompt):
        def forward(self) -> Tensor:
            return self.weight + torch.randn_like(self.weight)

        def regularizers(self) -> dict[str, Tensor]:
            return {"kl": self.weight.square().mean()}

    prompt = Noisy(4)
    prompt.initialise(vocabulary(), seeded())
    assert not torch.equal(prompt(), prompt())
    assert torch.equal(prompt.exported(), prompt.exported())
    assert not prompt.exported().requires_grad
    assert set(prompt.regularizers()) == {"kl"}
    assert DomainPrompt(4).regularizers() == {}
