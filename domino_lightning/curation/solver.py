"""Sampling answers from a language model in blocks that survive a kill; for answers and for judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, ModelSource, Prompt, Sampled, backbone_contents
from domino_lightning.generation.queues import sampled_blocks
from domino_lightning.generation.sampling import Sampling
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.progress import progress_bar
from domino_lightning.utils.ranges import ONE_OR_MORE, TWO_OR_MORE, check_ranges


class Solution(NamedTuple):
    """One sampled completion, and whether it ended by itself, not at `max_new_tokens`."""

    text: str
    finished: bool


@dataclass(frozen=True)
class Solver:
    """A language model that is asked several times.

    Args:
        backbone: backbone spec of an instruct model.
        samples: completions of each prompt.
        sampling: how they are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
        block_size: completions committed together.
    """

    backbone: str
    samples: int = 8
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.8, top_p=0.95, max_new_tokens=384))
    engine: Engine | None = None
    block_size: int = 48

    def __post_init__(self) -> None:
        """Refuse settings that cannot give several different completions.

        Raises:
            UserError: it names them.
        """
        check_ranges("answer.solver", self, samples=TWO_OR_MORE, block_size=ONE_OR_MORE)
        if self.sampling.temperature == 0:
            raise UserError("answer.solver: at temperature 0 all samples would be equal; raise sampling.temperature.")

    @staticmethod
    def contents(init_args: Mapping[str, Any], key: str) -> dict[str, str]:
        """The backbone."""
        return backbone_contents(init_args, key)

    def sample(self, prompts: Mapping[str, Prompt], seed: int, scratch: Path) -> list[list[Solution]]:
        """`samples` completions of each prompt, given by its record's id, in blocks kept in `scratch`.

        No model is loaded if no completion is missing.
        """
        asked = list(prompts.values())
        total = len(prompts) * self.samples
        blocks = BlockLog(scratch, "solutions", self.block_size, total)
        done = [Solution(str(row["text"]), bool(row["finished"])) for row in blocks.recover()]
        bar = progress_bar(total=total, initial=len(done), desc="answer: sample", unit="solution")
        if len(done) < total:
            model = (self.engine or TransformersEngine()).load(ModelSource(self.backbone))
            model.check_prompts(prompts, self.sampling, "answer.solver.sampling.max_new_tokens")

            def sampled(rows: range) -> Iterator[Sampled]:
                return model.stream([asked[row // self.samples] for row in rows], rows, seed, self.sampling)

            kept = [each.text for each in done]
            for block in sampled_blocks(sampled, kept, total, self.block_size, model.queue, bar.update):
                new = [Solution(each.text, each.finished) for each in block]
                blocks.append(len(done), [each._asdict() for each in new])
                done += new
        bar.close()
        return [done[start : start + self.samples] for start in range(0, total, self.samples)]
