"""What smoke runs put around a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.domains.rows import CandidateRow
from domino_lightning.generation.language_model import Sampled
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, generator_node


class SmokeGenerator(Generator):
    """Runs another generator, then puts held-out texts in place of every other row.

    A random model writes nothing that parses; so the stages after synthesis would have nothing to do.

    Args:
        generator: the one to exercise.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator, self.learned = generator, generator.learned
        self.replay = HeldoutReplay()

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The inner generator's, and the held-out texts."""
        inner, node = generator_node(init_args)
        return tuple(sorted({"prepare", *inner.inputs(node.init_args)}))

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The inner generator's."""
        inner, node = generator_node(init_args)
        return {f"generator.init_args.{key}": digest for key, digest in inner.contents(node.init_args).items()}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The inner generator's."""
        inner, node = generator_node(init_args)
        small = {**node.init_args, **inner.small(node.init_args, backbone)}
        return {"generator": {"class_path": node.path, "init_args": small}}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Open both."""
        self.generator.open(inputs)
        self.replay.open(inputs)

    def check_rows(self, rows: Sequence[int], seed: int) -> None:
        """The inner generator's."""
        self.generator.check_rows(rows, seed)

    def remember(self, rows: Sequence[CandidateRow]) -> None:
        """The inner generator has everything, so that what it does with earlier texts is run too."""
        self.generator.remember(rows)

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Odd rows from the inner generator, even rows from the held-out texts."""
        self.generator.on_tokens = self.on_tokens
        sampled = self.generator.generate(rows, seed)
        replayed = self.replay.generate([row // 2 for row in rows], seed)
        return [own if row % 2 else text for row, own, text in zip(rows, sampled, replayed, strict=True)]
