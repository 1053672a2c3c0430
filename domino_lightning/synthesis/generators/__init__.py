"""Generators: where candidate texts come from."""

from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, SoftPromptGenerator
from domino_lightning.synthesis.generators.few_shot import FewShot
from domino_lightning.synthesis.generators.lora import LoraGenerator
from domino_lightning.synthesis.generators.magpie import Magpie
from domino_lightning.synthesis.generators.oss_instruct import OSSInstruct

__all__ = ["FewShot", "Generator", "HeldoutReplay", "LoraGenerator", "Magpie", "OSSInstruct", "SoftPromptGenerator"]
