"""The filter that asks a language model: a typed rubric, ratings read strictly, failures to rate counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.domains.rows import Message
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, backbone_contents
from domino_lightning.generation.sampling import Sampling
from domino_lightning.utils.seeding import derived_seed

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
_KEPT = 300  # characters of an answer that could not be read


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric.

    Args:
        name: a short name, the key of the rating.
        question: what is rated.
        minimum: a lower rating rejects the row.
    """

    name: str
    question: str
    minimum: int = 3


RUBRIC = (
    Criterion("sense", "Does it make sense as a whole, as if somebody careful who knows the field had written it?"),
    Criterion("clarity", "Is it complete and clear what it asks for, without contradiction?"),
    Criterion("interest", "Would working it out test more than copying a line?", 2),
)


class Unreadable(ValueError):
    """A completion that is not the ratings that were asked for."""


class LMJudge(Filter):
    """Rejects records that a language model rates below a minimum on any criterion.

    Every criterion is an integer rating on one scale. The model must answer with one JSON object that holds
    exactly the criteria; anything else counts as unparsable. Codes: `unparsable`, or the criterion's name.
    The ratings are kept with the row, and the funnel counts what was rated and what could not be read.

    Args:
        backbone: backbone spec of an instruct model.
        criteria: the rubric.
        lowest: of the scale.
        highest: of the scale.
        unparsable: what to do with a row whose ratings cannot be read.
        sampling: how answers are drawn; greedy by default.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
        seed: of the noise, where sampling is not greedy.
    """

    reason = "judge"
    block_size = 32
    coded = True

    def __init__(
        self,
        backbone: str,
        criteria: Sequence[Criterion] = RUBRIC,
        lowest: int = 1,
        highest: int = 5,
        unparsable: Literal["reject", "keep"] = "reject",
        sampling: Sampling | None = None,
        engine: Engine | None = None,
        seed: int = 0,
    ) -> None:
        names = [criterion.name for criterion in criteria]
        if not names or len(set(names)) < len(names) or "unparsable" in names or not all(map(str.isidentifier, names)):
            raise UserError(
                f"LMJudge.criteria: names must be distinct words, none of them 'unparsable'; they are {names}."
            )
        outside = [criterion.name for criterion in criteria if not lowest <= criterion.minimum <= highest]
        if lowest >= highest or outside:
            raise UserError(
                f"LMJudge: the scale from {lowest} to {highest} must rise and hold every minimum"
                f"{'; that of ' + ', '.join(outside) + ' is outside' if outside else ''}."
            )
        self.backbone, self.criteria, self.lowest, self.highest = backbone, criteria, lowest, highest
        self.unparsable, self.engine, self.seed = unparsable, engine, seed
        self.sampling = sampling or Sampling(temperature=0.0, max_new_tokens=16 + 16 * len(names))
        self.model: LanguageModel | None = None

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, Any]:
        """The backbone."""
        return backbone_contents(init_args, "LMJudge")

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny model's answers say nothing, so what cannot be read is kept."""
        sampling = {"temperature": 0.0, "max_new_tokens": 4}
        return {**super().small(init_args, backbone), "sampling": sampling, "engine": None, "unparsable": "keep"}

    def open(self, context: Context) -> None:
        """Take note of the domain; the model is loaded with the first row that is not judged yet."""
        self.domain = context.domain

    def reject(self, candidate: Candidate) -> str | None:
        """`review` of one."""
        return next(self.review([candidate]))

    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        """Ask about all rows as one block."""
        questions = [self._question(candidate) for candidate in candidates]
        asked = [n for n, question in enumerate(questions) if isinstance(question, list)]
        rows = [derived_seed("judge", str(candidates[n].row["id"])) % (1 << 31) for n in asked]
        answers = dict(zip(asked, self._ask([questions[n] for n in asked], rows), strict=True))
        for n, (candidate, question) in enumerate(zip(candidates, questions, strict=True)):
            if isinstance(question, Exception):
                raise question  # at its own row's turn
            yield self._verdict(candidate, answers[n])

    def facts(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """How many rows were rated, and how many answers could not be read."""
        notes = [candidate.notes.get(self.reason, {}) for candidate in candidates]
        counts = Counter("unparsable" if "unparsable" in note else "rated" for note in notes if note)
        return {"rated": counts["rated"], "unparsable": counts["unparsable"]}

    def _question(self, candidate: Candidate) -> list[Message] | Exception:
        try:
            return self.question(self.domain.render(candidate.record))
        except Exception as error:
            return error

    def question(self, text: str) -> list[Message]:
        """What the model is asked about a text."""
        listed = "\n".join(f"- {criterion.name}: {criterion.question}" for criterion in self.criteria)
        shape = ", ".join(f'"{criterion.name}": <{self.lowest} to {self.highest}>' for criterion in self.criteria)
        content = (
            f"Rate the text between the lines on each criterion with a whole number from {self.lowest} (worst) to "
            f"{self.highest} (best).\n{listed}\n\n----\n{text}\n----\n\n"
            f"Answer with one JSON object and nothing else: {{{shape}}}"
        )
        return [{"role": "user", "content": content}]

    def _ask(self, questions: Sequence[Any], rows: Sequence[int]) -> list[str]:
        if not questions:
            return []
        try:
            if self.model is None:
                self.model = (self.engine or TransformersEngine()).load(ModelSource(self.backbone))
            return [found.text for found in self.model.complete(questions, rows, self.seed, self.sampling)]
        except (UserError, StageFailed):
            raise
        except Exception as error:  # the model's failure is not the rows'
            raise StageFailed(f"LMJudge: '{self.backbone}' failed: {type(error).__name__}: {error}") from error

    def _verdict(self, candidate: Candidate, answer: str) -> str | None:
        try:
            ratings = read_ratings(answer, self.criteria, self.lowest, self.highest)
        except Unreadable as error:
            candidate.notes[self.reason] = {"unparsable": answer[:_KEPT]}
            return f"unparsable: {error}" if self.unparsable == "reject" else None
        candidate.notes[self.reason] = ratings
        for criterion in self.criteria:
            if ratings[criterion.name] < criterion.minimum:
                return f"{criterion.name}: rated {ratings[criterion.name]}, less than {criterion.minimum}"
        return None


def read_ratings(answer: str, criteria: Sequence[Criterion], lowest: int, highest: int) -> dict[str, int]:
    """The ratings in a completion that is one JSON object, bare or in one code fence, and nothing else.

    Raises:
        Unreadable: other text, a criterion missing, unknown or named twice, or a rating that is no integer on the
            scale.
    """
    text = answer.strip()
    fenced = _FENCE.match(text)
    try:
        pairs = json.loads(fenced[1] if fenced else text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise Unreadable("not one JSON object") from None
    if not isinstance(pairs, _Pairs):
        raise Unreadable("not one JSON object")
    names = [name for name, _ in pairs]
    if sorted(names) != sorted(criterion.name for criterion in criteria):
        raise Unreadable(f"its keys are {', '.join(names)[:80] or 'none'}")
    for name, value in pairs:
        if type(value) is not int or not lowest <= value <= highest:
            raise Unreadable(f"{name} is {str(value)[:40]}, no whole number from {lowest} to {highest}")
    return dict(pairs)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written, with names that are given twice."""
