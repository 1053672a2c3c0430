"""Few-shot prompting: references as earlier turns of a conversation."""

from __future__ import annotations

from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, Prompt
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY
from domino_lightning.synthesis.generators.prompted import SAMPLING, PromptedGenerator

INSTRUCTION = "Write one new example. Answer with the example alone."


class FewShot(PromptedGenerator):
    """An instruct model is asked for an example k + 1 times; k references stand for its answers to the first k.

    In-context learning (Brown et al. 2020, arXiv 2005.14165) in the form of a chat: the form of a text is shown, not
    described, and the model ends a text where it would end its turn.

    Args:
        backbone: backbone spec of an instruct model, as it is.
        shots: k of 1 or more, drawn anew for each row.
        instruction: what the user says in every turn.
        sampling: how tokens are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
    """

    def __init__(
        self,
        backbone: str,
        shots: int = 4,
        instruction: str = INSTRUCTION,
        sampling: Sampling = SAMPLING,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(backbone, shots, sampling, engine)
        if shots < 1:
            raise UserError(f"{KEY}.shots: {shots} must be 1 or more: nothing else says what an example is.")
        self.instruction = instruction

    def prompt(self, row: int, seed: int) -> Prompt:
        """The conversation up to where the next example is to come."""
        return [*turns(self.instruction, self.chosen(row, seed)), {"role": "user", "content": self.instruction}]


def turns(instruction: str, answers: list[str]) -> list[Message]:
    """A user's instruction and an assistant's answer, in turn."""
    return [
        message
        for answer in answers
        for message in (
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": answer},
        )
    ]
