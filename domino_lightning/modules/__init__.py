"""LightningModules: what `tune` trains, and the coder's fine-tune; loaded on first use, since they import Lightning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domino_lightning.modules.coder import CoderModule
    from domino_lightning.modules.domain_learner import DomainLearner
    from domino_lightning.modules.lora_tuning import LoraTuningModule
    from domino_lightning.modules.prompt_tuning import PromptTuningModule
    from domino_lightning.modules.settings import Lora

__all__ = ["CoderModule", "DomainLearner", "Lora", "LoraTuningModule", "PromptTuningModule"]

_FILES = {
    "CoderModule": "coder",
    "DomainLearner": "domain_learner",
    "Lora": "settings",
    "LoraTuningModule": "lora_tuning",
    "PromptTuningModule": "prompt_tuning",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is named."""
    if name not in _FILES:
        raise AttributeError(f"module 'domino_lightning.modules' has no attribute '{name}'")
    return getattr(import_module(f"domino_lightning.modules.{_FILES[name]}"), name)
