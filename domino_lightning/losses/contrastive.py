"""The contrastive objectives: released, per-anchor InfoNCE, symmetric InfoNCE, margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from domino_lightning.losses.base import (
    ContrastiveLoss,
    Pairs,
    PromptNLL,
    masked_mean,
    negatives,
    own_nll,
    require_pairs,
)
from domino_lightning.losses.schedules import Schedule
from domino_lightning.utils.ranges import POSITIVE

if TYPE_CHECKING:
    from torch import Tensor


class ReleasedObjective(ContrastiveLoss):
    """The objective of the released DOMINO code, with weight λ on its contrastive part (arXiv 2605.30039).

    L = mean_i NLL(x_i|D) + λ · [ mean_i NLL(x_i|D,S_i) + log( mean_{i≠k} exp(−NLL(x_i|D,S_k)) ) ]

    The released λ is 1. Bounds: (−∞, ∞). The positive is missing from the denominator, so L is unbounded below:
    pushing every NLL(x_i|D,S_k) up lowers it for ever. Without a valid negative the contrast is 0.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        pairs: "all", or the number of negatives of a text.
    """

    def __init__(self, weight: float | Schedule = 1.0, pairs: Pairs = "all") -> None:
        super().__init__(weight, own_weight=1.0, pairs=pairs)

    def contrast(self, nll: PromptNLL) -> Tensor:
        """log of the mean likelihood under other samples' tokens."""
        paired, mask = require_pairs(nll)[0], negatives(nll)
        if not bool(mask.any()):
            return paired.new_zeros(())
        total = (-paired).masked_fill(~mask, -math.inf).flatten().logsumexp(dim=0)
        return total - mask.sum().to(paired.dtype).log()


class InfoNCE(ContrastiveLoss):
    """Per-anchor InfoNCE (van den Oord et al. 2018, arXiv 1807.03748, eq. 4) with −NLL/τ as the score.

    L = mean_i NLL(x_i|D) + λ · [ mean_i −log( exp(−NLL(x_i|D,S_i)/τ) / Σ_k exp(−NLL(x_i|D,S_k)/τ) )
                                  + α · mean_i NLL(x_i|D,S_i) ]

    Which of the prompts is this text's own? Bounds: [0, ∞). The contrast is log K where prompts are
    indistinguishable and goes to 0 as they separate. A row without a valid negative has contrast 0 by the formula.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        temperature: τ > 0, in nats/token: gaps much wider than τ have vanishing gradient.
        own_weight: α ≥ 0. At 0 only the gap between prompts counts, and S_i may do worse than D alone.
        pairs: "all", or the number of negatives of a text.
    """

    def __init__(
        self,
        weight: float | Schedule = 0.3,
        temperature: float = 1.0,
        own_weight: float = 1.0,
        pairs: Pairs = 1,
    ) -> None:
        super().__init__(weight, own_weight, pairs)
        self.temperature = _positive("temperature", temperature)

    def contrast(self, nll: PromptNLL) -> Tensor:
        """Mean over texts of −log softmax of the own prompt's score."""
        paired, is_own, _ = require_pairs(nll)
        return _cross_entropy(-paired / self.temperature, is_own & nll.valid[:, None], negatives(nll))


class SymmetricInfoNCE(ContrastiveLoss):
    """InfoNCE in both directions, as CLIP's loss (Radford et al. 2021, arXiv 2103.00020, fig. 3): mean of two.

    With the score s_ik = [ NLL(x_i|D) − NLL(x_i|D,S_k) ] / τ, where NLL(x_i|D) counts as a constant:
    L = mean_i NLL(x_i|D) + λ · [ ½ · mean_i −log( exp(s_ii) / Σ_k exp(s_ik) )     which prompt is this text's?
                                + ½ · mean_k −log( exp(s_kk) / Σ_i exp(s_ik) )     which text is this prompt's?
                                + α · mean_i NLL(x_i|D,S_i) ]

    Without the constant, which the first direction does not feel, the second would ask which text is easy.
    Bounds: [0, ∞); log B where prompts are indistinguishable. Without a valid negative the contrast is 0.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        temperature: τ > 0, in nats/token.
        own_weight: α ≥ 0.
    """

    def __init__(self, weight: float | Schedule = 1.0, temperature: float = 1.0, own_weight: float = 0.0) -> None:
        super().__init__(weight, own_weight, pairs="all")
        self.temperature = _positive("temperature", temperature)

    def contrast(self, nll: PromptNLL) -> Tensor:
        """Mean of the two directions.

        Raises:
            ValueError: the pairs are not all pairs of the batch.
        """
        paired, is_own, _ = require_pairs(nll)
        if paired.shape[0] != paired.shape[1]:
            raise ValueError(f"SymmetricInfoNCE needs pairs 'all', (B, B) NLLs, and was given {tuple(paired.shape)}")
        scores = (nll.domain.detach()[:, None] - paired) / self.temperature
        own, other = is_own & nll.valid[:, None], negatives(nll)
        return (_cross_entropy(scores, own, other) + _cross_entropy(scores.T, own.T, other.T)) / 2


class Margin(ContrastiveLoss):
    """A hinge on every negative (FaceNet's triplet loss, Schroff et al. 2015, arXiv 1503.03832, eq. 3).

    L = mean_i NLL(x_i|D) + λ · [ mean_{i≠k} max(0, m + NLL(x_i|D,S_i) − NLL(x_i|D,S_k)) + α · mean_i NLL(x_i|D,S_i) ]

    Bounds: [0, ∞). A negative that is m nats/token worse than the own prompt is left alone. Without a valid
    negative the contrast is 0.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        margin: m > 0, in nats/token.
        own_weight: α ≥ 0.
        pairs: "all", or the number of negatives of a text.
    """

    def __init__(
        self, weight: float | Schedule = 1.0, margin: float = 0.5, own_weight: float = 0.0, pairs: Pairs = "all"
    ) -> None:
        super().__init__(weight, own_weight, pairs)
        self.margin = _positive("margin", margin)

    def contrast(self, nll: PromptNLL) -> Tensor:
        """Mean hinge over all negatives of the batch."""
        paired, _, _ = require_pairs(nll)
        return masked_mean((self.margin + own_nll(nll)[:, None] - paired).clamp(min=0), negatives(nll))


def _cross_entropy(scores: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Mean over the rows that have an own entry of logsumexp(own and other scores) − own score."""
    anchor = own.any(dim=1)
    # A row without an own entry would be logsumexp of nothing; its scores are replaced, then masked out.
    kept = scores.masked_fill(~(own | other), -math.inf).masked_fill(~anchor[:, None], 0.0)
    per_anchor = kept.logsumexp(dim=1) - scores.masked_fill(~own, 0.0).sum(dim=1)
    return masked_mean(per_anchor, anchor)


def _positive(name: str, value: float) -> float:
    if value not in POSITIVE:
        raise ValueError(f"{name} must be greater than 0, not {value}")
    return value
