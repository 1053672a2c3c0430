"""Texts that nothing can check: notes, articles, letters. Learned as they are, or asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import DEFAULT_AGREEMENT, Agreement, Answered, Domain, Unparsable
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.ranges import ZERO_OR_MORE, check_ranges


class FreeText(Domain):
    """Texts as they are. `finetune` goes on training on raw text, and `evaluate` takes the perplexity of the test's.

    Args:
        min_words: fewer words are no text.
    """

    kind = "freetext"
    unit = "text"
    answered_by = "nobody: texts are learned as they are"
    graded = False

    def __init__(self, min_words: int = 3) -> None:
        self.min_words = min_words
        check_ranges(type(self).__name__, self, min_words=ZERO_OR_MORE)

    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """A row with a `text`; `prepare.source.fields` names the column where it is called otherwise.

        Raises:
            UserError: no text in it, or too short a one.
        """
        text = row.get("text")
        if not isinstance(text, str):
            raise UserError(
                f"{where}: field 'text' must be a string; it is {text!r}. Where the column has another name, give it: "
                "prepare.source.fields.text=<column>."
            )
        try:
            return {**row, **self.parse(text)}
        except Unparsable as error:
            raise UserError(f"{where}: field 'text': {error}.") from None

    def render(self, record: Mapping[str, Any]) -> str:
        """The text."""
        return str(record["text"])

    def parse(self, text: str) -> Record:
        """The text without blank space around it.

        Raises:
            Unparsable: `empty` or `short`.
        """
        words = len(text.split())
        if not words:
            raise Unparsable("empty", "no text")
        if words < self.min_words:
            raise Unparsable("short", f"{words} words, fewer than {self.min_words}")
        return {"text": text.strip()}

    def canonical(self, record: Mapping[str, Any]) -> str:
        """The text without layout and case."""
        return " ".join(record["text"].split()).casefold()

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """Nothing is asked."""
        return []

    def pair(self, record: Mapping[str, Any]) -> list[Message]:
        """The text alone, which is encoded without a chat template."""
        return [{"role": "assistant", "content": record["text"]}]


class AskedText(FreeText):
    """Texts with a question about each, which a language model answers.

    Several answers are sampled (`answer.solver`); `answer.judge` rates them, and the best is taken. Without a judge
    the first is taken, unchecked. A text without an answer, as references may be, is learned as it is.

    Args:
        question: what is asked about every text; it stands before it.
        min_words: fewer words are no text.
    """

    kind = "askedtext"
    answered_by = "a language model"
    needs_solutions = True
    agreement_settings = frozenset()

    def __init__(self, question: str = "Summarize this text in a few sentences.", min_words: int = 3) -> None:
        super().__init__(min_words)
        if not question.strip():
            raise UserError("AskedText.question: it is empty. Ask something, or take FreeText.")
        self.asked = question

    def question(self, record: Mapping[str, Any]) -> str:
        """What is asked."""
        return self.asked

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The question, then the text."""
        return [{"role": "user", "content": f"{self.asked}\n\n{record['text']}"}]

    def pair(self, record: Mapping[str, Any]) -> list[Message]:
        """The question and the answer; the text alone where there is no answer."""
        answer = self.answer_text(record)
        if answer is None:
            return super().pair(record)
        return [*self.prompt(record), {"role": "assistant", "content": answer}]

    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """The first answer with any text: with a judge, they come from the best to the worst."""
        for record, texts in zip(records, solutions, strict=True):
            filled = [text.strip() for text in texts if text.strip()]
            if filled:
                yield Answered({**record, "answer": filled[0]})
            else:
                yield Answered(record, "no_answer", "no sampled answer has any text, or none was rated well enough")
