"""Where candidate texts come from. Light to import: torch is loaded when a generator is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.records import read_jsonl
from domino_lightning.resources import backbone_hash


class Sampled(NamedTuple):
    """One candidate text, whether it ended by itself (EOS), and its number of tokens."""

    text: str
    finished: bool
    num_tokens: int


class Generator(ABC):
    """A source of candidate texts, named by `class_path` under `synthesize.generator`."""

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """Stages whose directories `open` is given."""
        return ()

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """Keys of `init_args` that name outside content, with its hash."""
        return {}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load what generation needs. `inputs` maps stage names to finished directories."""
        return

    @abstractmethod
    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Texts of the given row numbers; the same (rows, seed) gives the same texts."""


class SoftPromptGenerator(Generator):
    """Samples the backbone from the domain tokens alone: `[BOS] D`, then tokens until EOS.

    Args:
        backbone: backbone spec; it must be the one that D was tuned on.
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps all tokens.
        max_new_tokens: a row that reaches it is not finished.
    """

    def __init__(
        self, backbone: str, temperature: float = 0.8, top_p: float = 1.0, max_new_tokens: int = 128
    ) -> None:
        if not temperature >= 0 or not 0 < top_p <= 1 or max_new_tokens < 1:
            raise UserError(
                f"synthesize.generator: temperature {temperature} must be 0 or more, top_p {top_p} in (0, 1], "
                f"max_new_tokens {max_new_tokens} 1 or more."
            )
        self.backbone_spec = backbone
        self.temperature, self.top_p, self.max_new_tokens = temperature, top_p, max_new_tokens

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The tuned soft prompt."""
        return ("tune",)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        if not isinstance(init_args.get("backbone"), str):  # validation says what is wrong with it
            return {}
        return {"backbone": backbone_hash(init_args["backbone"], "synthesize.generator.init_args.backbone")}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load the backbone and the soft prompt, which must belong together."""
        from domino_lightning.soft_prompt import SoftPrompt
        from domino_lightning.synthesis.engine import Sampling

        self.soft_prompt = SoftPrompt.load(inputs["tune"], backbone=self.backbone_spec)
        self.sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Sample the rows as one batch."""
        return self.soft_prompt.sample(rows, seed, self.sampling)


class HeldoutReplay(Generator):
    """Gives the held-out texts themselves, in turn: an upper bound for any learned generator."""

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The prepared splits."""
        return ("prepare",)

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Read the held-out texts."""
        self.texts = [row["text"] for row in read_jsonl(inputs["prepare"] / "heldout.jsonl", required=("text",))]

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Text k modulo their number."""
        texts = [self.texts[row % len(self.texts)] for row in rows]
        return [Sampled(text, True, len(text.split())) for text in texts]
