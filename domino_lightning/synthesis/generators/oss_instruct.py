"""OSS-Instruct: a few lines of a reference as the seed of a new example."""

from __future__ import annotations

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, Prompt
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY
from domino_lightning.synthesis.generators.few_shot import INSTRUCTION as FORM
from domino_lightning.synthesis.generators.few_shot import turns
from domino_lightning.synthesis.generators.prompted import SAMPLING, PromptedGenerator
from domino_lightning.utils.seeding import derived_seed

SEED = "{seed}"
INSTRUCTION = f"""Please gain inspiration from the following lines and write one new example of the same form. \
It must stand for itself and be about something else than the lines.

{SEED}

Answer with the example alone."""
MOST_LINES = 15


class OSSInstruct(PromptedGenerator):
    """An instruct model is given some lines of a reference to be inspired by (Wei et al. 2023, arXiv 2312.02120).

    Magicoder draws 1 to 15 consecutive lines of open-source code; here they are lines of a reference. What an
    example looks like is told by `shots` other references as earlier answers, where Magicoder describes its form.

    Args:
        backbone: backbone spec of an instruct model, as it is.
        shots: references that show the form; 0 leaves it to the instruction.
        instruction: what the user says, with the lines at `{seed}`.
        sampling: how tokens are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
    """

    def __init__(
        self,
        backbone: str,
        shots: int = 1,
        instruction: str = INSTRUCTION,
        sampling: Sampling = SAMPLING,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(backbone, shots, sampling, engine)
        if SEED not in instruction:
            raise UserError(f"{KEY}.instruction: has no {SEED}, which says where the lines of a reference stand.")
        self.instruction = instruction

    @property
    def needed(self) -> int:
        """One more than are shown whole."""
        return self.shots + 1

    def prompt(self, row: int, seed: int) -> Prompt:
        """References as answers, then the instruction with lines of another one."""
        inspiring, *shown = self.chosen(row, seed)
        asked = self.instruction.replace(SEED, lines_of(inspiring, derived_seed("lines", seed, row)))
        return [*turns(FORM, shown), {"role": "user", "content": asked}]


def lines_of(text: str, key: int) -> str:
    """1 to 15 consecutive lines of a text, blank ones left out; both ends are a function of `key`."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    count = 1 + key % min(MOST_LINES, len(lines))
    start = key // MOST_LINES % (len(lines) - count + 1)
    return "\n".join(lines[start : start + count])
