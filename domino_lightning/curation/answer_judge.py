"""A language model that rates sampled answers, where nothing else can tell good ones from bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.curation.filters.lm_judge import Criterion, Unreadable, read_ratings
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, ModelSource
from domino_lightning.generation.sampling import Sampling
from domino_lightning.store.contents import backbone_hash
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.progress import progress_bar
from domino_lightning.utils.ranges import ONE_OR_MORE, check_ranges

RUBRIC = (
    Criterion("faithful", "Is everything in the answer supported by what was asked about?"),
    Criterion("complete", "Does it answer what was asked, and all of it?"),
    Criterion("clear", "Is it well written, without repetition?"),
)


@dataclass(frozen=True)
class AnswerJudge:
    """Rates every sampled answer; those below a minimum, or whose ratings cannot be read, are no answers.

    Args:
        backbone: backbone spec of an instruct model.
        criteria: the rubric; answers are ordered by the sum of their ratings.
        lowest: of the scale.
        highest: of the scale.
        unparsable: what to do with an answer whose ratings cannot be read: leave it out, or keep it, behind the rest.
        sampling: how ratings are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
        block_size: answers rated together; the unit of commit and resume.
    """

    backbone: str
    criteria: tuple[Criterion, ...] = RUBRIC
    lowest: int = 1
    highest: int = 5
    unparsable: str = "reject"
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_new_tokens=64))
    engine: Engine | None = None
    block_size: int = 32

    def __post_init__(self) -> None:
        """Refuse a rubric or a scale that makes no sense.

        Raises:
            UserError: it names them.
        """
        check_ranges("answer.judge", self, block_size=ONE_OR_MORE)
        names = [criterion.name for criterion in self.criteria]
        if not names or len(set(names)) < len(names):
            raise UserError(f"answer.judge.criteria: names must be distinct; they are {names}.")
        inside = all(self.lowest <= criterion.minimum <= self.highest for criterion in self.criteria)
        if self.lowest >= self.highest or not inside:
            raise UserError(
                f"answer.judge: the scale from {self.lowest} to {self.highest} must rise and hold every minimum."
            )
        if self.unparsable not in ("reject", "keep"):
            raise UserError(f"answer.judge.unparsable: {self.unparsable!r} is none of reject, keep.")

    @staticmethod
    def contents(init_args: Mapping[str, Any], key: str) -> dict[str, str]:
        """The backbone."""
        spec = init_args.get("backbone")
        return {"backbone": backbone_hash(spec, key)} if isinstance(spec, str) else {}

    def ordered(
        self, prompts: Sequence[Sequence[Message]], answers: Sequence[Sequence[str]], seed: int, scratch: Path
    ) -> tuple[list[list[str]], Record]:
        """The answers to each prompt from the best to the worst, and counts: rated, unparsable, too_low.

        Those that are not good enough are there as answers without any text, so that shares stay shares of all.
        """
        flat = [(place, text) for place, texts in enumerate(answers) for text in texts if text.strip()]
        ratings = self._rate([self._question(prompts[place], text) for place, text in flat], seed, scratch)
        scored: list[list[tuple[int, str]]] = [[] for _ in answers]
        counts = {"rated": 0, "unparsable": 0, "too_low": 0}
        for (place, text), told in zip(flat, ratings, strict=True):
            try:
                found = read_ratings(told, self.criteria, self.lowest, self.highest)
            except Unreadable:
                counts["unparsable"] += 1
                if self.unparsable == "keep":
                    scored[place].append((self.lowest, text))
                continue
            counts["rated"] += 1
            if any(found[criterion.name] < criterion.minimum for criterion in self.criteria):
                counts["too_low"] += 1
            else:
                scored[place].append((sum(found.values()), text))
        ordered = [[text for _, text in sorted(each, key=lambda rated: -rated[0])] for each in scored]
        return [texts + [""] * (len(all_) - len(texts)) for texts, all_ in zip(ordered, answers, strict=True)], counts

    def _question(self, prompt: Sequence[Message], answer: str) -> list[Message]:
        listed = "\n".join(f"- {criterion.name}: {criterion.question}" for criterion in self.criteria)
        shape = ", ".join(f'"{criterion.name}": <{self.lowest} to {self.highest}>' for criterion in self.criteria)
        content = (
            f"Rate the answer on each criterion with a whole number from {self.lowest} (worst) to {self.highest} "
            f"(best).\n{listed}\n\n---- question\n{prompt[-1]['content']}\n---- answer\n{answer}\n----\n\n"
            f"Reply with one JSON object and nothing else: {{{shape}}}"
        )
        return [{"role": "user", "content": content}]

    def _rate(self, questions: Sequence[Sequence[Message]], seed: int, scratch: Path) -> list[str]:
        """What the model says to each, in blocks that survive a kill."""
        blocks = BlockLog(scratch, "ratings", self.block_size, len(questions))
        done = [str(row["text"]) for row in blocks.recover()]
        bar = progress_bar(total=len(questions), initial=len(done), desc="answer: judge", unit="answer")
        if len(done) < len(questions):
            model = (self.engine or TransformersEngine()).load(ModelSource(self.backbone))
        while len(done) < len(questions):
            rows = range(len(done), min(len(done) + self.block_size, len(questions)))
            texts = model.complete([questions[row] for row in rows], rows, seed, self.sampling)
            blocks.append(len(done), [{"text": each.text} for each in texts])
            done += [each.text for each in texts]
            bar.update(len(texts))
        bar.close()
        return done
