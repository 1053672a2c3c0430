"""Disentanglement losses: arithmetic on negative log-likelihoods, free of models and ranks."""

from domino_lightning.losses.base import (
    ContrastiveLoss,
    DisentanglementLoss,
    Pairs,
    PromptNLL,
    by_prompt,
    masked_mean,
    negatives,
    own_nll,
    require_pairs,
)
from domino_lightning.losses.contrastive import InfoNCE, Margin, ReleasedObjective, SymmetricInfoNCE
from domino_lightning.losses.likelihood import LikelihoodOnly, PairedLikelihood
from domino_lightning.losses.paper import PaperObjective
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
    "PaperObjective",
    "PromptNLL",
    "ReleasedObjective",
    "Schedule",
    "SymmetricInfoNCE",
    "by_prompt",
    "masked_mean",
    "negatives",
    "own_nll",
    "require_pairs",
]
