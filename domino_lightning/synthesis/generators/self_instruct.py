"""Self-Instruct: few-shot prompting whose examples come partly from what was generated before."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from domino_lightning.domains.rows import CandidateRow
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, Prompt
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY
from domino_lightning.synthesis.generators.few_shot import INSTRUCTION, turns
from domino_lightning.synthesis.generators.prompted import SAMPLING, PromptedGenerator
from domino_lightning.utils.seeding import derived_seed


class SelfInstruct(PromptedGenerator):
    """Few-shot prompting that bootstraps: its own earlier texts join the examples (Wang et al. 2022, arXiv 2212.10560).

    As there, a prompt shows six texts that are given and two that were generated, in a random order, and given ones in
    place of generated ones that are not there yet. The pool takes what passed the screen in earlier blocks, so a row
    depends on (seed, row), on `synthesize.block_size` and on all blocks before its own, also after a resume. The
    original leaves out what is close to the pool by ROUGE-L; here the filters of `curate` do, the same for every arm.
    The form is a chat, as in `FewShot`, where the original has a numbered list for a base model.

    Args:
        backbone: backbone spec of an instruct model, as it is.
        shots: references in a prompt.
        own: generated texts in a prompt, as soon as there are so many.
        instruction: what the user says in every turn.
        sampling: how tokens are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
    """

    def __init__(
        self,
        backbone: str,
        shots: int = 6,
        own: int = 2,
        instruction: str = INSTRUCTION,
        sampling: Sampling = SAMPLING,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(backbone, shots, sampling, engine)
        if own < 1 or shots < 1:
            raise UserError(f"{KEY}: shots {shots} and own {own} must both be 1 or more; `FewShot` has no pool.")
        self.own, self.instruction = own, instruction
        self.pool: list[str] = []

    @property
    def needed(self) -> int:
        """As many as a prompt shows before anything was generated."""
        return self.shots + self.own

    @property
    def queue(self) -> int:
        """A block: what it shows must have been committed before."""
        return 0

    def remember(self, rows: Sequence[CandidateRow]) -> None:
        """Take what passed the screen into the pool."""
        self.pool += [row["text"] for row in rows if row["screen"] == "ok"]

    def prompt(self, row: int, seed: int) -> Prompt:
        """The conversation up to where the next example is to come."""
        dice = Random(derived_seed("pool", seed, row))
        own = dice.sample(self.pool, min(self.own, len(self.pool)))
        shown = [*self.chosen(row, seed)[: self.needed - len(own)], *own]
        dice.shuffle(shown)
        return [*turns(self.instruction, shown), {"role": "user", "content": self.instruction}]
