"""Disentanglement losses: arithmetic on negative log-likelihoods, free of models and ranks."""

from domino_lightning.losses.base import (
    ContrastiveLoss,
    DisentanglementLoss,
    Pairs,
    PromptNLL,
    masked_mean,
    negatives,
    own_nll,
    require_pairs,
)
from domino_lightning.losses.contrastive import InfoNCE, Margin, ReleasedObjective, SymmetricInfoNCE
from domino_lightning.losses.likelihood import LikelihoodOnly, PairedLikelihood
from domino_lightning.losses.schedules import CosineSchedule, LinearSchedule, Schedule

__all__ = [
    "ContrastiveLoss",
    "CosineSchedule",
    "DisentanglementLoss",
    "InfoNCE",
    "LikelihoodOnly",
    "LinearSchedule",
    "Margin",
    "PairedLikelihood",
    "Pairs",
    "PromptNLL",
    "ReleasedObjective",
    "Schedule",
    "SymmetricInfoNCE",
    "masked_mean",
    "negatives",
    "own_nll",
    "require_pairs",
]
