"""Disentanglement losses: arithmetic on negative log-likelihoods, free of models and ranks."""

from domino_lightning.losses.base import DisentanglementLoss, Pairs, PromptNLL, masked_mean, own_nll, require_pairs
from domino_lightning.losses.disentanglement import InfoNCE, LikelihoodOnly, ReleasedObjective

__all__ = [
    "DisentanglementLoss",
    "InfoNCE",
    "LikelihoodOnly",
    "Pairs",
    "PromptNLL",
    "ReleasedObjective",
    "masked_mean",
    "own_nll",
    "require_pairs",
]
