"""What generators share that ask an untuned language model in words, with references in the prompt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, ModelSource, Prompt, Sampled, backbone_contents
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY, ModelGenerator
from domino_lightning.utils.jsonl import read_jsonl
from domino_lightning.utils.seeding import derived_seed

FEWER = f"Lower {KEY}.shots or max_new_tokens, or take a model with more positions."
SAMPLING = Sampling(max_new_tokens=96)  # as the soft prompt is sampled


class PromptedGenerator(ModelGenerator):
    """Asks a language model for a text of the domain; a subclass says how, by `prompt`.

    Which references a row is shown is a function of (seed, row), as its noise is.

    Args:
        backbone: backbone spec of an instruct model, as it is.
        shots: k references shown in a prompt, all different.
        sampling: how tokens are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
    """

    def __init__(self, backbone: str, shots: int, sampling: Sampling, engine: Engine | None = None) -> None:
        if shots < 0:
            raise UserError(f"{KEY}.shots: {shots} must be 0 or more.")
        self.backbone, self.shots, self.sampling, self.engine = backbone, shots, sampling, engine

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The references."""
        return ("prepare",)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        return backbone_contents(init_args, KEY)

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny model in this process, few tokens, at most two references."""
        small = {"backbone": backbone, "sampling": {"max_new_tokens": 8}, "engine": None}
        shots = init_args.get("shots")
        return small | ({"shots": min(2, shots)} if isinstance(shots, int) else {})

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Read the references and load the model.

        Raises:
            UserError: fewer references than a prompt shows.
        """
        rows = read_jsonl(inputs["prepare"] / "reference.jsonl", required=("text",))
        self.read([str(row["text"]) for row in rows])
        self.language_model = (self.engine or TransformersEngine()).load(ModelSource(self.backbone))

    def read(self, texts: Sequence[str]) -> None:
        """Take the references, each different text once, and whatever else prompts need; no model is loaded.

        Raises:
            UserError: fewer references than a prompt shows.
        """
        self.references = list(dict.fromkeys(texts))
        if self.needed > len(self.references):
            raise UserError(
                f"{KEY}.shots: a prompt shows {self.needed} different references, and there are "
                f"{len(self.references)}. Lower it, or raise prepare.split.reference."
            )

    @property
    def needed(self) -> int:
        """References that one prompt takes."""
        return self.shots

    def chosen(self, row: int, seed: int) -> list[str]:
        """`needed` different references for a row, in the order of keys drawn for (seed, row)."""
        order = sorted(range(len(self.references)), key=lambda index: derived_seed("shots", seed, row, index))
        return [self.references[index] for index in order[: self.needed]]

    @abstractmethod
    def prompt(self, row: int, seed: int) -> Prompt:
        """What the model is asked for a row."""

    def check_rows(self, rows: Sequence[int], seed: int) -> None:
        """Prompts against the positions of the model; those that show generated texts as if there were none yet."""
        prompts = {f"the prompt of row {row}": self.prompt(row, seed) for row in rows}
        self.check_prompts(self.backbone, self.engine, prompts, self.sampling.max_new_tokens, "sampling")

    def check_prompts(
        self, backbone: str, engine: Engine | None, prompts: Mapping[str, Prompt], new: int, group: str
    ) -> None:
        """Refuse prompts of a model that is at hand, behind which `new` tokens do not fit; `group` is the setting."""
        if engine is None or not engine.remote:
            from domino_lightning.generation.prompts import check_lengths

            check_lengths(backbone, prompts, new, f"{KEY}.{group}.max_new_tokens", FEWER)

    def ask(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """Behind the prompt of each."""
        prompts = [self.prompt(row, seed) for row in rows]
        return self.language_model.stream(prompts, rows, seed, self.sampling, self.on_tokens)
