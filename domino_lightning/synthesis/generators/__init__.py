"""Generators: where candidate texts come from."""

from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, SoftPromptGenerator

__all__ = ["Generator", "HeldoutReplay", "SoftPromptGenerator"]
