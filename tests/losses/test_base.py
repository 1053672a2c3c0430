"""The helpers every loss is built from: masked means, the own prompt's NLL, the demand for pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from domino_lightning.losses import DisentanglementLoss, PromptNLL, masked_mean, own_nll, require_pairs


def test_masked_mean_averages_only_what_is_masked_in() -> None:
    values = torch.tensor([1.0, 10.0, 4.0])
    mask = torch.tensor([True, False, True])
    assert masked_mean(values, mask).item() == (1.0 + 4.0) / 2


def test_masked_mean_of_nothing_is_zero_with_zero_gradient() -> None:
    values = torch.tensor([math.nan, math.inf], requires_grad=True)
    mean = masked_mean(values, torch.tensor([False, False]))
    mean.backward()
    assert mean.item() == 0.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 0.0]


def test_masked_mean_ignores_nan_and_infinity_in_excluded_entries_and_their_gradient() -> None:
    values = torch.tensor([2.0, math.nan, -math.inf, 6.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, False, False, True]))
    mean.backward()
    assert mean.item() == 4.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0.0, 0.0, 0.5]


def test_own_nll_picks_the_own_prompt_of_every_row_wherever_it_stands() -> None:
    paired = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    is_own = torch.tensor([[False, True, False], [True, False, False]])
    nll = PromptNLL(torch.zeros(2), torch.ones(2), torch.tensor([True, True]), paired, is_own, torch.ones(2, 3).bool())
    assert own_nll(nll).tolist() == [2.0, 4.0]


def test_a_loss_given_no_pairs_says_which_setting_is_missing() -> None:
    nll = PromptNLL(torch.zeros(2), torch.ones(2), torch.tensor([True, True]))
    for ask in (require_pairs, own_nll):
        with pytest.raises(ValueError, match="`pairs`"):
            ask(nll)


def test_a_forks_loss_needs_only_a_forward() -> None:
    class Median(DisentanglementLoss):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            return {"loss": nll.domain[nll.valid].median() * (1 - progress)}

    loss = Median()
    assert loss.pairs == "none"
    nll = PromptNLL(torch.tensor([1.0, 9.0, 2.0]), torch.ones(3), torch.tensor([True, True, True]))
    assert loss(nll, progress=0.5)["loss"].item() == 1.0


def test_the_abstract_loss_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        DisentanglementLoss()  # type: ignore[abstract]
