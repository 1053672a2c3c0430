"""Objectives without contrast: the baselines that a contrastive loss has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domino_lightning.losses.base import ContrastiveLoss, DisentanglementLoss, Pairs, PromptNLL, masked_mean
from domino_lightning.losses.schedules import Schedule

if TYPE_CHECKING:
    from torch import Tensor


class LikelihoodOnly(DisentanglementLoss):
    """L = mean_i NLL(x_i | D): plain prompt tuning (Lester et al. 2021, arXiv 2104.08691).

    Bounds: [0, ∞). Needs no pairs, so no sample tokens are allocated.
    """

    pairs: Pairs = "none"

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Terms `loss` and `sufficiency`, which are equal."""
        sufficiency = masked_mean(nll.domain, nll.valid)
        return {"loss": sufficiency, "sufficiency": sufficiency}


class PairedLikelihood(ContrastiveLoss):
    """L = mean_i NLL(x_i|D) + λ · mean_i NLL(x_i|D,S_i): sample tokens without contrast.

    The ablation of the contrastive term (released DOMINO code without its last summand): S_i may explain x_i, but
    nothing keeps S_k from explaining it as well. Bounds: [0, ∞). One pair a text.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
    """

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__(weight, own_weight=1.0, pairs="own")

    def contrast(self, nll: PromptNLL) -> Tensor:
        """0."""
        return nll.domain.new_zeros(())
