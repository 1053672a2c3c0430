"""A tuned soft prompt with its backbone, ready to generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource
from domino_lightning.generation.sampling import Sampling

if TYPE_CHECKING:
    pass
from domino_lightning.models.soft_prompt import read_soft_prompt


class SoftPrompt:
    """Domain tokens with the backbone they were learned on, ready to generate.

    Attributes:
        domain: (D, H) float32.
        description: content of `soft_prompt.json`.
        language_model: the backbone behind them.
    """

    def __init__(self, domain: Tensor, description: dict[str, Any], language_model: LanguageModel) -> None:
        self.domain, self.description, self.language_model = domain, description, language_model

    @classmethod
    def load(cls, directory: str | Path, backbone: str | None = None, engine: Engine | None = None) -> SoftPrompt:
        """Read an export and its backbone.

        Args:
            directory: holds `soft_prompt.safetensors` and `soft_prompt.json`.
            backbone: spec to use; by default the one named in the export.
            engine: what runs the backbone; by default transformers in this process.

        Raises:
            UserError: files missing, or the backbone or tokenizer differs from the one D was learned on.
        """
        source = ModelSource.of_soft_prompt(Path(directory), backbone)
        domain, description = read_soft_prompt(Path(directory), source.backbone)
        return cls(domain, description, (engine or TransformersEngine()).load(source))

    def generate(
        self, count: int, temperature: float = 0.8, max_new_tokens: int = 128, seed: int = 0, top_p: float = 1.0
    ) -> list[str]:
        """`count` texts from the domain tokens."""
        sampling = Sampling(temperature, top_p, max_new_tokens=max_new_tokens)
        sampled = self.language_model.complete([""] * count, range(count), seed, sampling)
        return [each.text for each in sampled]
