"""LightningModules: what `tune` trains, and the coder's fine-tune."""

from domino_lightning.modules.coder import CoderModule
from domino_lightning.modules.domain_learner import DomainLearner
from domino_lightning.modules.lora import Lora
from domino_lightning.modules.lora_tuning import LoraTuningModule
from domino_lightning.modules.prompt_tuning import PromptTuningModule

__all__ = ["CoderModule", "DomainLearner", "Lora", "LoraTuningModule", "PromptTuningModule"]
