"""LightningModules: prompt tuning and the coder's fine-tune."""

from domino_lightning.modules.coder import CoderModule, Lora
from domino_lightning.modules.prompt_tuning import PromptTuningModule

__all__ = ["CoderModule", "Lora", "PromptTuningModule"]
