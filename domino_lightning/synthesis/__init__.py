"""Synthesis of candidate texts, and the language models behind it, behind answers, judges and evaluation."""

from domino_lightning.domains.rows import Message
from domino_lightning.generation.engines import TransformersEngine, VLLMEngine, VLLMServer
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, SoftPromptGenerator

__all__ = [
    "Engine",
    "Generator",
    "HeldoutReplay",
    "LanguageModel",
    "Message",
    "ModelSource",
    "Prompt",
    "Sampled",
    "Sampling",
    "SoftPromptGenerator",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMServer",
]
