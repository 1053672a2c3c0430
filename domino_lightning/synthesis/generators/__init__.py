"""Generators: where candidate texts come from."""

from domino_lightning.synthesis.generators.bare import BARE
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, SoftPromptGenerator
from domino_lightning.synthesis.generators.few_shot import FewShot
from domino_lightning.synthesis.generators.lora import LoraGenerator
from domino_lightning.synthesis.generators.magpie import Magpie
from domino_lightning.synthesis.generators.oss_instruct import OSSInstruct
from domino_lightning.synthesis.generators.self_instruct import SelfInstruct

__all__ = [
    "BARE",
    "FewShot",
    "Generator",
    "HeldoutReplay",
    "LoraGenerator",
    "Magpie",
    "OSSInstruct",
    "SelfInstruct",
    "SoftPromptGenerator",
]
