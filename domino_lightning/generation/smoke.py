"""What smoke runs put around an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from domino_lightning.config.nodes import class_of
from domino_lightning.domains.base import Domain
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor


class SmokeEngine(Engine):
    """Runs another engine, then puts solutions that agree with each other in place of what a random model wrote.

    Args:
        domain: class path of the domain, whose `smoke_answer` it puts there.
        engine: the one to exercise; null: `TransformersEngine` with its defaults.
    """

    def __init__(self, domain: str, engine: Engine | None = None) -> None:
        self.domain: type[Domain] = class_of(domain, "domain")
        self.engine = engine or TransformersEngine()

    def load(self, source: ModelSource) -> LanguageModel:
        """Load the inner engine's model."""
        return _SmokeModel(self.engine.load(source), self.domain)


class _SmokeModel(LanguageModel):
    def __init__(self, model: LanguageModel, domain: type[Domain]) -> None:
        self.model, self.domain = model, domain

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """One solution a prompt."""
        sampled = self.model.complete(prompts, rows, seed, sampling, on_tokens, sample_tokens)
        asked = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
        return [
            each._replace(text=self.domain.smoke_answer(text), finished=True)
            for each, text in zip(sampled, asked, strict=True)
        ]
