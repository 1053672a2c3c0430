"""The prompt-tuning module by itself: likelihoods, gradients, initialization, state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from domino_lightning.data.padded import collate_texts
from domino_lightning.errors import UserError
from domino_lightning.losses import InfoNCE, LikelihoodOnly, ReleasedObjective
from domino_lightning.nn import TextBatch, prompted_nll
from tests.modules.tuned import attached, batch, module


@pytest.mark.parametrize("varies", ["prompt", "text"])
@pytest.mark.parametrize("pairs", ["none", "own", "all", 1, 2, 9])
def test_likelihoods_equal_one_prompt_and_text_at_a_time(pairs: Any, varies: Any) -> None:
    class Asking(LikelihoodOnly):
        pass

    loss = Asking()
    loss.pairs, loss.varies = pairs, varies
    tuned, texts = attached(loss), batch((3, 0, 5))
    nll = tuned.prompt_nll(texts, step=4)
    domain = tuned.domain_prompt()
    for i in range(3):
        one = TextBatch(*(part[i : i + 1] for part in texts))
        expected = prompted_nll(tuned.backbone, domain[None], one, [])
        assert nll.domain[i].item() == pytest.approx(expected.item(), abs=1e-5)
    if pairs == "none":
        assert nll.paired is None
        return
    assert nll.paired is not None
    assert nll.is_own is not None
    assert tuned.sample_tokens is not None
    assert nll.paired.shape == (3, {"own": 1, "all": 3, 1: 2}.get(pairs, 3))
    own = tuned.sample_tokens(texts.samples)
    for i in range(3):
        one = TextBatch(*(part[i : i + 1] for part in texts))
        values = [prompted_nll(tuned.backbone, torch.cat([domain, own[k]])[None], one, []).item() for k in range(3)]
        assert nll.paired[i, nll.is_own[i]].item() == pytest.approx(values[i], abs=1e-5)
        assert nll.prompt_row is not None
        prompts = nll.prompt_row[i].tolist()
        assert nll.paired[i].tolist() == pytest.approx([values[k] for k in prompts], abs=1e-5)
        if pairs == "all":
            assert prompts == [0, 1, 2]


def test_likelihood_only_allocates_no_sample_tokens_and_needs_none() -> None:
    tuned = attached(LikelihoodOnly(), num_sample_tokens=0)
    assert tuned.sample_tokens is None
    assert tuned.prompt_nll(batch(), 0).paired is None
    assert {name for name, p in tuned.named_parameters() if p.requires_grad} == {"domain_prompt.weight"}


def test_a_loss_with_pairs_needs_sample_tokens() -> None:
    with pytest.raises(UserError, match=r"tune\.model\.num_sample_tokens: 0"):
        module(loss=InfoNCE(), num_sample_tokens=0)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_domain_tokens_start_as_token_embeddings_as_the_layers_see_them(family: str) -> None:
    # Gemma multiplies its embeddings by sqrt(hidden size) when it looks them up.
    tuned = attached(family=family)
    seen: Tensor = tuned.backbone.get_input_embeddings()(torch.arange(259))
    rows = [(token == seen).all(dim=1).nonzero().flatten().tolist() for token in tuned.domain_prompt()]
    assert all(len(row) == 1 for row in rows)
    assert len({row[0] for row in rows}) == 3


def test_initialization_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = attached(seed=4).state_dict()
    torch.manual_seed(2)
    again, other = attached(seed=4).state_dict(), attached(seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first)


def test_the_backbone_gets_no_gradient() -> None:
    tuned = attached()
    terms = tuned.loss(tuned.prompt_nll(batch(), 0))
    terms["loss"].backward()
    assert tuned.domain_prompt.weight.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in tuned.backbone.parameters())


def test_the_backbone_stays_in_eval_mode_whatever_is_asked() -> None:
    tuned = attached(family="gpt2")  # it has dropout
    for mode in (True, False, True):
        tuned.train(mode)
        assert tuned.training is mode
        assert tuned.domain_prompt.training is mode
        assert not any(part.training for part in tuned.backbone.modules())


def test_the_shared_state_is_the_domain_and_the_losses_parameters_alone() -> None:
    class Learned(LikelihoodOnly, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    loss = Learned()
    loss.pairs = "own"
    state = attached(loss).state_dict()
    assert set(state) == {"domain_prompt.weight", "loss.scale"}
    assert sum(value.numel() for value in state.values()) == 3 * 32 + 1


def test_a_padding_batch_trains_nothing_and_moves_no_row_by_its_momentum() -> None:
    tuned = attached()
    assert tuned.sample_tokens is not None
    optimizer = torch.optim.SparseAdam(tuned.sample_tokens.parameters(), lr=0.1)
    for texts in (batch((0, 1)), collate_texts([None])):
        before = tuned.sample_tokens.table.weight.detach().clone()
        tuned.domain_prompt.weight.grad = None
        terms = tuned.loss(tuned.prompt_nll(texts, 0))
        terms["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert terms["loss"].item() == 0.0
    assert torch.equal(tuned.sample_tokens.table.weight, before)
    assert tuned.domain_prompt.weight.grad is not None
    assert tuned.domain_prompt.weight.grad.abs().sum() == 0


def test_micro_batches_of_pairs_reach_the_forward_and_change_no_gradient() -> None:
    gradients = []
    for size in (None, 2):
        tuned = attached(ReleasedObjective(), pair_micro_batch=size)
        assert tuned.likelihoods.pair_micro_batch == size
        tuned.loss(tuned.prompt_nll(batch(), 0))["loss"].backward()
        assert tuned.sample_tokens is not None
        rows = tuned.sample_tokens.table.weight.grad
        assert tuned.domain_prompt.weight.grad is not None
        assert rows is not None
        gradients.append((tuned.domain_prompt.weight.grad, rows.to_dense()))
    for whole, small in zip(*gradients, strict=True):
        assert torch.allclose(whole, small, atol=1e-6, rtol=1e-4)


def test_a_micro_batch_of_no_pairs_is_refused() -> None:
    with pytest.raises(UserError, match=r"tune\.model: pair_micro_batch 0 must be 1 or more"):
        module(pair_micro_batch=0)
