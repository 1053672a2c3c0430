"""The objectives shipped with the package: likelihood alone, the released objective, per-anchor InfoNCE."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from domino_lightning.losses.base import (
    DisentanglementLoss,
    Pairs,
    PromptNLL,
    masked_mean,
    own_nll,
    require_pairs,
)


class LikelihoodOnly(DisentanglementLoss):
    """L = mean_i NLL(x_i | D): plain prompt tuning (Lester et al. 2021, arXiv 2104.08691).

    Bounded below by 0. Needs no pairs, so no sample tokens are allocated.
    """

    pairs: Pairs = "none"

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Terms `loss` and `sufficiency`, which are equal."""
        sufficiency = masked_mean(nll.domain, nll.valid)
        return {"loss": sufficiency, "sufficiency": sufficiency}


class ReleasedObjective(DisentanglementLoss):
    """The objective of the released DOMINO code, with weight λ on its contrastive part (arXiv 2605.30039).

    L = mean_i NLL(x_i|D) + λ · [ mean_i NLL(x_i|D,S_i) + log( mean_{i≠k} exp(−NLL(x_i|D,S_k)) ) ]

    The released λ is 1. The positive is missing from the denominator, so L is unbounded below: pushing every
    NLL(x_i|D,S_k) up lowers it for ever. Without a valid negative the contrast is 0.

    Args:
        weight: λ ≥ 0.
        pairs: "all", or the number of negatives of a text.
    """

    def __init__(self, weight: float = 1.0, pairs: Pairs = "all") -> None:
        super().__init__()
        self.weight = _non_negative("weight", weight)
        self.pairs = pairs

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Terms `loss`, `sufficiency`, `own` and `contrast`."""
        paired, is_own, pair_valid = require_pairs(nll)
        negative = pair_valid & ~is_own & nll.valid[:, None]
        sufficiency = masked_mean(nll.domain, nll.valid)
        own = masked_mean(own_nll(nll), nll.valid)
        contrast = _log_mean_exp(-paired, negative)
        loss = sufficiency + self.weight * (own + contrast)
        return {"loss": loss, "sufficiency": sufficiency, "own": own, "contrast": contrast}


class InfoNCE(DisentanglementLoss):
    """L = mean_i NLL(x_i|D) + λ · mean_i −log( exp(−NLL(x_i|D,S_i)/τ) / Σ_k exp(−NLL(x_i|D,S_k)/τ) ).

    Per-anchor InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, eq. 4) with −NLL/τ as the score: which of
    the prompts is this text's own? The positive stands in the denominator, so the contrast lies in [0, ∞), is
    log K where prompts are indistinguishable, and goes to 0 as they separate. A row without a valid negative
    has contrast 0 by the formula itself.

    Args:
        weight: λ ≥ 0.
        temperature: τ > 0.
        pairs: "all", or the number of negatives of a text.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 1.0, pairs: Pairs = "all") -> None:
        super().__init__()
        self.weight = _non_negative("weight", weight)
        if not temperature > 0:
            raise ValueError(f"temperature must be greater than 0, not {temperature}")
        self.temperature = temperature
        self.pairs = pairs

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Terms `loss`, `sufficiency`, `own` and `contrast`."""
        paired, is_own, pair_valid = require_pairs(nll)
        kept = (pair_valid | is_own) & nll.valid[:, None]
        # A row that is all padding would be logsumexp of nothing; its score is replaced, then masked out.
        scores = (-paired / self.temperature).masked_fill(~kept, -math.inf)
        scores = scores.masked_fill(~nll.valid[:, None], 0.0)
        own_score = scores.masked_fill(~is_own, 0.0).sum(dim=1)
        per_anchor = torch.logsumexp(scores, dim=1) - own_score
        sufficiency = masked_mean(nll.domain, nll.valid)
        contrast = masked_mean(per_anchor, nll.valid)
        return {
            "loss": sufficiency + self.weight * contrast,
            "sufficiency": sufficiency,
            "own": masked_mean(own_nll(nll), nll.valid),
            "contrast": contrast,
        }


def _log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """log of the mean of exp(values) over the mask; 0 where the mask is empty."""
    if not bool(mask.any()):
        return values.new_zeros(())
    total = torch.logsumexp(values.masked_fill(~mask, -math.inf).flatten(), dim=0)
    return total - mask.sum().to(values.dtype).log()


def _non_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
    return value
