"""What a preview samples where `tune` has not finished: the backbone with nothing learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import ModelSource, Sampled
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, ModelGenerator, generator_node


class UntunedBackbone(ModelGenerator):
    """Samples the backbone of another generator as it is, by the other's settings, from nothing but a first token.

    Untuned, it writes little that is of the domain; so held-out texts follow, which later stages have something to do
    with.

    Args:
        generator: one that samples what `tune` has learned; it is never opened. It must have the attributes
            `backbone_spec` and `sampling`, and may have `engine`, as `SoftPromptGenerator` does.
        sampled: number of the first row that is a held-out text.
    """

    def __init__(self, generator: Generator, sampled: int) -> None:
        self.sampled, self.replay = sampled, HeldoutReplay()
        spec, sampling = (getattr(generator, name, None) for name in ("backbone_spec", "sampling"))
        if not isinstance(spec, str) or not isinstance(sampling, Sampling):
            raise UserError(
                f"synthesize.generator: {type(generator).__name__} reads `tune`, which has not finished, and has no "
                "`backbone_spec` and `sampling` to sample its backbone without it by. Run `domino tune` first."
            )
        self.backbone_spec, self.sampling, self.engine = spec, sampling, getattr(generator, "engine", None)

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The held-out texts."""
        return HeldoutReplay.inputs({})

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The inner generator's."""
        inner, node = generator_node(init_args)
        return {f"generator.init_args.{key}": digest for key, digest in inner.contents(node.init_args).items()}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load the backbone, and read the held-out texts."""
        from domino_lightning.models.backbone import load_tokenizer, start_text

        self.replay.open(inputs)
        self.start = start_text(load_tokenizer(self.backbone_spec))
        self.language_model = (self.engine or TransformersEngine()).load(ModelSource(self.backbone_spec))

    def ask(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """Those below `sampled`, then held-out texts."""
        own = [row for row in rows if row < self.sampled]
        replayed = self.replay.generate([row - self.sampled for row in rows if row >= self.sampled], seed)
        sampled = self.language_model.stream([self.start] * len(own), own, seed, self.sampling, self.on_tokens)
        return chain(sampled, replayed)
