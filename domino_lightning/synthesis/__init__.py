"""Domain synthesis: candidate texts from a soft prompt or another generator."""

from domino_lightning.synthesis.generators import Generator, HeldoutReplay, Sampled, SoftPromptGenerator

__all__ = ["Generator", "HeldoutReplay", "Sampled", "SoftPromptGenerator"]
