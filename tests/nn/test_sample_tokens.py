"""Sample tokens: one row a sample, gradients and updates for the batch's rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from domino_lightning.nn import SampleTokens, initialization
from domino_lightning.utils.seeding import generator


def table(
    owned: Sequence[int] = range(6), tokens: int = 2, size: int = 4, **kwargs: Any
) -> tuple[SampleTokens, torch.Tensor]:
    vocabulary = torch.randn(20, size, generator=torch.Generator().manual_seed(1))
    module = SampleTokens(owned, tokens, size, **kwargs)
    module.initialize(vocabulary, seed=2)
    return module, vocabulary


def test_every_vector_of_every_sample_is_a_row_of_the_vocabulary() -> None:
    module, vocabulary = table()
    vectors = module(torch.arange(6))
    assert vectors.shape == (6, 2, 4)
    assert (vectors[:, :, None] == vocabulary).all(dim=-1).any(dim=-1).all()


def test_samples_start_differently_and_seeded() -> None:
    first, again = table()[0].table.weight, table()[0].table.weight
    assert torch.equal(first, again)
    assert len(first.unique(dim=0)) > 1


def test_a_sample_is_looked_up_by_its_index_in_any_order() -> None:
    module, _ = table()
    assert torch.equal(module(torch.tensor([3, 0, 3]))[0], module(torch.tensor([3]))[0])
    assert torch.equal(module(torch.tensor([3, 0, 3]))[0], module(torch.tensor([3, 0, 3]))[2])


def test_only_the_rows_of_the_batch_get_a_gradient_and_change() -> None:
    module, _ = table()
    optimizer = torch.optim.SparseAdam(module.parameters(), lr=0.1)
    before = module.table.weight.detach().clone()
    for batch in ([1, 4], [4, 4]):
        module(torch.tensor(batch)).square().sum().backward()
        gradient = module.table.weight.grad
        assert gradient is not None
        assert gradient.is_sparse
        assert set(gradient.coalesce().indices().flatten().tolist()) == set(batch)
        optimizer.step()
        optimizer.zero_grad()
    changed = (module.table.weight != before).any(dim=1)
    assert changed.tolist() == [False, True, False, False, True, False]


def test_looking_up_nothing_moves_nothing_even_with_momentum() -> None:
    module, _ = table()
    optimizer = torch.optim.SparseAdam(module.parameters(), lr=0.1)
    for batch in ([0], []):
        before = module.table.weight.detach().clone()
        module(torch.tensor(batch, dtype=torch.long)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(module.table.weight, before)


def test_a_sample_starts_the_same_whatever_rank_it_lies_on() -> None:
    whole, part = table()[0], table(owned=(1, 4))[0]
    assert part.table.weight.shape == (2, 8)
    assert torch.equal(part(torch.tensor([4, 1])), whole(torch.tensor([4, 1])))
    for elsewhere in (0, 5):
        with pytest.raises(IndexError):
            part(torch.tensor([elsewhere]))


def test_the_tables_gradient_is_scaled_and_nothing_else() -> None:
    plain, scaled = table()[0], table(gradient_scale=0.5)[0]
    for module in (plain, scaled):
        module(torch.tensor([3])).square().sum().backward()
    assert plain.table.weight.grad is not None
    assert scaled.table.weight.grad is not None
    assert torch.equal(scaled.table.weight.grad.to_dense(), plain.table.weight.grad.to_dense() * 0.5)
    assert torch.equal(plain(torch.tensor([3])), scaled(torch.tensor([3])))


def test_low_rank_tokens_start_as_rows_of_the_shared_basis_and_need_fewer_numbers() -> None:
    module, vocabulary = table(tokens=3, size=4, low_rank=2)
    assert module.table.weight.shape == (6, 3 * 2)
    assert module.basis is not None
    assert (module.basis[:, None] == vocabulary).all(dim=-1).any(dim=-1).all()
    vectors = module(torch.arange(6))
    assert vectors.shape == (6, 3, 4)
    assert (vectors[:, :, None] == module.basis).all(dim=-1).any(dim=-1).all()
    vectors.sum().backward()
    assert module.table.weight.grad is not None
    assert module.table.weight.grad.is_sparse
    assert module.basis.grad is not None
    with pytest.raises(ValueError, match="low_rank must be 1 or more"):
        SampleTokens([0], 1, 4, low_rank=0)


def test_keywords_are_the_embeddings_of_each_samples_own_tokens_wherever_it_lies() -> None:
    vocabulary = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    keywords = [[3, 7], [0, 0], [19, 2]]
    for owned in ([0, 1, 2], [2, 0]):
        module = SampleTokens(owned, 2, 4)
        module.initialize(vocabulary, 5, "keywords", keywords)
        for sample in owned:
            assert torch.equal(module(torch.tensor([sample]))[0], vocabulary[torch.tensor(keywords[sample])])
    with pytest.raises(ValueError, match="needs the keywords"):
        SampleTokens([0], 2, 4).initialize(vocabulary, 5, "keywords")


def test_low_rank_keywords_start_as_near_as_the_basis_allows() -> None:
    vocabulary = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    wanted = vocabulary[torch.tensor([3, 7])]
    full, flat = SampleTokens([0], 2, 4, low_rank=4), SampleTokens([0], 2, 4, low_rank=2)
    for module in (full, flat):
        module.initialize(vocabulary, 5, "keywords", [[3, 7]])
    assert torch.allclose(full(torch.tensor([0]))[0], wanted, atol=1e-4)
    basis = flat.basis.detach()  # type: ignore[union-attr]
    projection = wanted @ basis.T @ torch.linalg.inv(basis @ basis.T) @ basis
    assert torch.allclose(flat(torch.tensor([0]))[0], projection, atol=1e-4)


def test_normal_rows_of_all_samples_rest_on_statistics_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    tokens = SampleTokens([0, 2, 5], 2, 6)
    taken: list[int] = []
    take = initialization.Moments.of

    def counted(rows: Any) -> Any:
        taken.append(len(rows))
        return take(rows)

    monkeypatch.setattr(initialization.Moments, "of", counted)
    tokens.initialize(vocabulary, seed=4, init="normal")
    assert taken == [40]
    monkeypatch.undo()
    for row, sample in enumerate(tokens.owned):
        expected = initialization.draw_tokens(vocabulary, 2, "normal", generator("samples", 4, sample))
        assert torch.equal(tokens.table.weight[row], expected.flatten())
