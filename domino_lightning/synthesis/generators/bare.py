"""BARE: a base model drafts, an instruct model refines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, ModelSource, Prompt, Sampled, backbone_contents
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY
from domino_lightning.synthesis.generators.prompted import SAMPLING, PromptedGenerator
from domino_lightning.utils.seeding import derived_seed

DRAFT = "{draft}"
INSTRUCTION = f"""Here is a draft of an example:

{DRAFT}

Improve it: correct what is wrong and make it realistic, in the same form. Answer with the improved example alone."""
HEADING = "Example {number}:"
DRAFTING = Sampling(temperature=1.0, max_new_tokens=96)


class BARE(PromptedGenerator):
    """A base model's drafts, each refined by an instruct model (Zhu et al. 2025, arXiv 2502.01697).

    The base model goes on with a numbered list of `shots` references; a draft ends where it begins the next number. The
    instruct model then sees one draft at a time. A row counts the tokens of both.

    Args:
        backbone: backbone spec of the instruct model.
        base: backbone spec of the base model.
        shots: references in the list, 1 or more, drawn anew for each row.
        heading: before every text of the list, with its number at `{number}`.
        instruction: what the instruct model is asked, with the draft at `{draft}`.
        drafting: how the base model's tokens are drawn.
        sampling: how the instruct model's are.
        engine: what runs the instruct model; null: `TransformersEngine` with its defaults.
        base_engine: what runs the base model; null: the same.
    """

    def __init__(
        self,
        backbone: str,
        base: str,
        shots: int = 3,
        heading: str = HEADING,
        instruction: str = INSTRUCTION,
        drafting: Sampling = DRAFTING,
        sampling: Sampling = SAMPLING,
        engine: Engine | None = None,
        base_engine: Engine | None = None,
    ) -> None:
        super().__init__(backbone, shots, sampling, engine)
        if shots < 1:
            raise UserError(f"{KEY}.shots: {shots} must be 1 or more: nothing else says what an example is.")
        for name, text, mark in (("heading", heading, "{number}"), ("instruction", instruction, DRAFT)):
            if mark not in text:
                raise UserError(f"{KEY}.{name}: {text!r} has no {mark}.")
        self.base, self.heading, self.instruction = base, heading, instruction
        self.drafting, self.base_engine = drafting, base_engine

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """Both models."""
        return super().contents(init_args) | backbone_contents(init_args, KEY, "base", "base_engine")

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny model as both."""
        small = super().small(init_args, backbone)
        return small | {"base": backbone, "base_engine": None, "drafting": small["sampling"]}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Read the references and load both models."""
        super().open(inputs)
        self.base_model = (self.base_engine or TransformersEngine()).load(ModelSource(self.base))

    def prompt(self, row: int, seed: int) -> Prompt:
        """The list for the base model, up to where the next text is to come."""
        texts = self.chosen(row, seed)
        listed = [f"{self._heading(number)}\n{text}\n" for number, text in enumerate(texts, start=1)]
        return "\n".join([*listed, f"{self._heading(len(texts) + 1)}\n"])

    def check_rows(self, rows: Sequence[int], seed: int) -> None:
        """The lists against the base model, and the longest possible draft against the instruct model."""
        lists = {f"the list of row {row}": self.prompt(row, seed) for row in rows}
        self.check_prompts(self.base, self.base_engine, lists, self.drafting.max_new_tokens, "drafting")
        new = self.drafting.max_new_tokens + self.sampling.max_new_tokens
        around = {"the prompt around a draft": self.refining("")}
        self.check_prompts(self.backbone, self.engine, around, new, "sampling")

    def refining(self, draft: str) -> Prompt:
        """What the instruct model is asked about a draft."""
        return [{"role": "user", "content": self.instruction.replace(DRAFT, draft)}]

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Draft the rows as one block, then refine them as one."""
        lists = [self.prompt(row, seed) for row in rows]
        key = derived_seed("draft", seed)
        drafts = self.base_model.complete(lists, rows, key, self.drafting, self.on_tokens)
        asked = [self.refining(self._cut(each.text)) for each in drafts]
        refined = self.language_model.complete(asked, rows, seed, self.sampling, self.on_tokens)
        return [
            text._replace(num_tokens=draft.num_tokens + text.num_tokens)
            for draft, text in zip(drafts, refined, strict=True)
        ]

    def _heading(self, number: int) -> str:
        return self.heading.replace("{number}", str(number))

    def _cut(self, text: str) -> str:
        """A draft up to where the base model goes on with the list."""
        return text.partition(self._heading(self.shots + 2))[0].strip()
