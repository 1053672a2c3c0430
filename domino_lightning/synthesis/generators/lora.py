"""The control of the soft prompt: the backbone with an adapter learned on the same references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, ModelSource, Sampled, backbone_contents
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY, Generator

SAMPLING = Sampling(max_new_tokens=96)  # as the soft prompt is sampled


class LoraGenerator(Generator):
    """Samples the backbone under the adapter of a `tune` that trains LoRA, from nothing but a first token.

    It asks what domain tokens are worth that plain fine-tuning (Hu et al. 2021, arXiv 2106.09685) is not: the same
    texts, the same steps, the same engine. `tune.model.class_path` must be
    `domino_lightning.modules.LoraTuningModule`.

    Args:
        backbone: backbone spec; it must be the one that the adapter was learned on.
        sampling: how tokens are drawn.
        engine: what runs the backbone; null: `TransformersEngine` with its defaults.
    """

    learned = "adapter"

    def __init__(self, backbone: str, sampling: Sampling = SAMPLING, engine: Engine | None = None) -> None:
        self.backbone_spec, self.sampling, self.engine = backbone, sampling, engine

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The tuned adapter."""
        return ("tune",)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        return backbone_contents(init_args, KEY)

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny model in this process, few tokens."""
        return {"backbone": backbone, "sampling": {"max_new_tokens": 8}, "engine": None}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load the backbone and the adapter, which must belong together."""
        from domino_lightning.models.adapter import read_adapter

        adapter, description = read_adapter(inputs["tune"], self.backbone_spec)
        self.start = str(description["start"])
        self.language_model = (self.engine or TransformersEngine()).load(
            ModelSource(self.backbone_spec, adapter=adapter)
        )

    @property
    def queue(self) -> int:
        """The language model's."""
        return self.language_model.queue

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Sample the rows as one queue."""
        return list(LoraGenerator.stream(self, rows, seed))

    def stream(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """Sample the rows as one queue."""
        prompts = [self.start] * len(rows)
        return self.language_model.stream(prompts, rows, seed, self.sampling, self.on_tokens)
