"""Domains whose answers a function can check: what a model writes is kept, and scored, by that check alone."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import DEFAULT_AGREEMENT, Agreement, Answered, Domain, Verdict
from domino_lightning.utils.contract import returned
from domino_lightning.utils.jsonl import Record


class VerifiableDomain(Domain):
    """A domain with a `check` beside the four methods; nothing of a record or an answer is executed by the package.

    `answer` asks a language model (`answer.solver`) for several answers to each synthetic record and takes the first
    that passes. A reference's own answer must pass too, or `prepare` refuses the row. A record that no sampled
    answer passes is left out under the reason `check`, with the reason that most of its answers failed for.
    """

    needs_solutions = True
    agreement_settings = frozenset({"own_tests"})  # the others are about answers that have to be compared
    answered_by = "a language model, as far as a check passes its answers"

    @abstractmethod
    def check(self, record: Mapping[str, Any], answer: str) -> bool | str:
        """Whether an answer is right: True, or False, or the reason why it is not, in a few words.

        Called with whatever a model wrote. A check that raises counts as a wrong answer of status `error`.
        """

    def verdict(self, record: Mapping[str, Any], answer: str) -> Verdict:
        """What `check` says, as a verdict; an answer without any text is wrong before it is looked at."""
        if not answer.strip():
            return Verdict(False, "failed", "no text")
        try:
            found = self.check(record, answer)
        except Exception as error:  # a fork's check may take a form for granted
            return Verdict(False, "error", f"check raised {type(error).__name__}: {error}")
        if returned(self, "check", found, bool | str) is True:
            return Verdict(True, "passed")
        return Verdict(False, "failed", found if isinstance(found, str) and found else "the check says no")

    def problem(self, record: Mapping[str, Any]) -> str | None:
        """An answer of its own that its check does not pass."""
        answer = self.answer_text(record)
        if answer is None or not answer.strip() or (found := self.verdict(record, answer)).passed:
            return None
        return f"has an answer that its own check does not pass ({found.detail})"

    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """The first sampled answer that passes; the share that do is noted as the record's `agreement`.

        Under `agreement.own_tests: false` the first answer with any text is taken, right or wrong.
        """
        for record, texts in zip(records, solutions, strict=True):
            verdicts = [self.verdict(record, text) for text in texts]
            right = [text for text, each in zip(texts, verdicts, strict=True) if each.passed]
            noted = {"rate": len(right) / max(1, len(texts)), "solutions": len(texts)}
            taken = right or ([text for text in texts if text.strip()] if not agreement.own_tests else [])
            if taken:
                yield Answered({**record, self.answer_field: taken[0].strip(), "agreement": noted})
            else:
                ((detail, count),) = Counter(each.detail for each in verdicts).most_common(1) or [("none sampled", 0)]
                why = f"none of {len(texts)} answers passes; {count} of them: {detail}"
                yield Answered({**record, "agreement": noted}, "check", why)

    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Verdict]]:
        """Check every completion."""
        for record, texts in zip(records, completions, strict=True):
            yield [self.verdict(record, text) for text in texts]
