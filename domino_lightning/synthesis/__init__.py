"""Synthesis of candidate texts, and the language models behind it, behind answers, judges and evaluation."""

from domino_lightning.domains.rows import Message
from domino_lightning.generation.api_engine import APIEngine
from domino_lightning.generation.engines import TransformersEngine, VLLMEngine, VLLMServer
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.bare import BARE
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, SoftPromptGenerator
from domino_lightning.synthesis.generators.few_shot import FewShot
from domino_lightning.synthesis.generators.lora import LoraGenerator
from domino_lightning.synthesis.generators.magpie import Magpie
from domino_lightning.synthesis.generators.oss_instruct import OSSInstruct
from domino_lightning.synthesis.generators.self_instruct import SelfInstruct

__all__ = [
    "APIEngine",
    "BARE",
    "Engine",
    "FewShot",
    "Generator",
    "HeldoutReplay",
    "LanguageModel",
    "LoraGenerator",
    "Magpie",
    "Message",
    "ModelSource",
    "OSSInstruct",
    "Prompt",
    "Sampled",
    "Sampling",
    "SelfInstruct",
    "SoftPromptGenerator",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMServer",
]
