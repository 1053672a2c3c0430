"""What a domain knows: how its records read as text, how a sample is read back, asked, answered and graded."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from domino_lightning.domains.answers import as_text, is_same
from domino_lightning.domains.results import CONSISTENT
from domino_lightning.domains.results import DEFAULT_AGREEMENT as DEFAULT_AGREEMENT
from domino_lightning.domains.results import Agreement as Agreement
from domino_lightning.domains.results import Answered as Answered
from domino_lightning.domains.results import Program as Program
from domino_lightning.domains.results import Verdict as Verdict
from domino_lightning.domains.rows import ADDED, Exchange, MeasureName, Question, Reference, Whole, row_id
from domino_lightning.errors import UserError
from domino_lightning.utils.conformance import fault_of
from domino_lightning.utils.contract import BrokenContract, Contract, broken, one_each, one_each_in
from domino_lightning.utils.jsonl import SURROGATE, Record, sha256_text
from domino_lightning.utils.ranges import UNIT
from domino_lightning.utils.read_only import ReadOnly

log = logging.getLogger(__name__)


class Unparsable(ValueError):
    """A sample that is no record of the domain.

    Attributes:
        reason: a short code that funnels count by, for example `syntax`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


Side = Literal["reference", "test", "neither"]
Share = Annotated[float, UNIT]


class Domain(Contract, ABC, more="domino_lightning.testing.check_domain(domain, rows) says more."):
    """A kind of data. Subclass it in a fork and name it by `class_path`.

    Four methods must be written: `read`, `render`, `parse` and `prompt`. The rest has defaults that fit records
    whose answer stands in a field and is graded by comparing texts; docs/write_a_domain.md shows a whole one.

    Class attributes:
        kind: label of its records; by default the class's name in lower case.
        corpus: data source of a few of its records, used by `--smoke` where the real data is not at hand.
        unit: what one record is called where pages count them; with an s it is the plural.
        answer_field: field of a record that holds its answer.
        fills_answers: whether `complete` gives every record its answer.
        answered_by: how synthetic records come to their answers, as their provenance tells it.
        needs_solutions: whether synthetic records are answered from solutions that a language model samples;
            `answer` must then be written too.
        takes_cut_answers: whether a sampled solution that was cut at `max_new_tokens` may hold an answer; if not, it
            counts as one without any text.
        agreement_settings: the keys of `answer.agreement` that its `answer` goes by; None: all.
        graded: whether an answer can be right or wrong; if not, `evaluate` takes the test's perplexity alone.
        executes: whether records are executed when they are prepared, answered or filtered, or answers when graded.
        languages: of its texts, as a card on the Hugging Face hub names them (ISO 639, or `code`).
        tags: of the card of its synthetic data.
    """

    kind: ClassVar[str]
    corpus: ClassVar[str] = ""
    unit: ClassVar[str] = "record"
    answer_field: ClassVar[str] = "answer"
    fills_answers: ClassVar[bool] = False
    answered_by: ClassVar[str] = "the text itself"
    needs_solutions: ClassVar[bool] = False
    takes_cut_answers: ClassVar[bool] = False
    agreement_settings: ClassVar[frozenset[str] | None] = None
    graded: ClassVar[bool] = True
    executes: ClassVar[bool] = False
    languages: ClassVar[tuple[str, ...]] = ("en",)
    tags: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **others: Any) -> None:
        """Give it a label, where neither it nor a parent has one."""
        super().__init_subclass__(**others)
        cls.kind = getattr(cls, "kind", cls.__name__.lower())

    # What must be written.

    @abstractmethod
    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """A raw row in one of the formats the domain knows, as a record; see `record` for what may be left out.

        Raises:
            UserError: a row of no known format; the message starts with `where`.
        """

    @abstractmethod
    def render(self, record: Mapping[str, Any]) -> str:
        """The text that the backbone learns from."""

    @abstractmethod
    def parse(self, text: str) -> Record:
        """Read a sampled text back as a record without `id`.

        Raises:
            Unparsable: it is none.
        """

    @abstractmethod
    def prompt(self, record: Mapping[str, Any]) -> Question:
        """The evaluation prompt, perhaps with a worked example; empty only where nothing is asked or graded."""

    # Records.

    def record(self, row: Mapping[str, Any], where: str) -> Record:
        """What `read` makes of a row, whole: a missing `id` is the row's own or its place in the file.

        Raises:
            UserError: the row is refused, also where one of the domain's methods stumbles over it.
        """
        try:
            found = self.read(row, where)
            record = self._whole(found if "id" in found else {"id": row_id(row, where), **found})
            kept = ReadOnly(self, record)
            shown = [message["content"] for message in self.prompt(record)]
            kept.check("prompt")
            if not shown and (self.graded or self.needs_solutions):
                raise broken(self, "prompt gave no message, and a record must ask something, unless 'graded' is False")
            shown += [record["text"], self.answer_text(record) or ""]
            kept.check("answer_text")
            if self.has_answer(record):
                shown += [message["content"] or "" for message in self.pair(record)]
            kept.check("pair")
            half = next(filter(None, map(SURROGATE.search, shown)), None)
        except BrokenContract as error:
            raise UserError(f"{where}: {str(error).splitlines()[0]}") from None
        except UserError:
            raise
        except Exception as error:  # a fork's methods may take a field for granted
            problem = f"{type(self).__name__} fails on the row ({type(error).__name__}: {error})"
            raise UserError(f"{where}: {problem}.") from error
        if half is not None:
            raise UserError(f"{where}: the text holds {half[0]!a}, half of a character, which no tokenizer takes.")
        return record

    def parsed(self, text: str, name: str = "") -> Record:
        """What `parse` makes of a text, whole, under an id.

        Raises:
            Unparsable: it is no record.
            BrokenContract: it has a field that is written beside those of records.
        """
        record = self.parse(text)
        if (field := next(filter(record.__contains__, ADDED), None)) is not None:
            told = f"parse gave a field '{field}', in which stages keep {ADDED[field]}"
            raise broken(self, f"{told}: rename it in read and parse")
        return self._whole({"id": name, **record})

    def _whole(self, record: Record) -> Record:
        """With the fields that every record has; records of one key are a group unless the domain says otherwise."""
        made = {"kind": lambda: self.kind, "text": lambda: self.render(record)}
        made["group"] = lambda: sha256_text(self.canonical(record))[:12]
        missing = [name for name in made if name in Reference.__required_keys__ - record.keys()]
        if fault := fault_of(record["id"], str | float):
            raise broken(self, f"'id' of a record must be a text or a number, and is {fault.found}")
        kept, whole = ReadOnly(self, record), {**record, "id": str(record["id"])}
        for name in missing:
            whole[name] = made[name]()
            kept.check("render" if name == "text" else "canonical")
        for name in Reference.__required_keys__:
            if fault := fault_of(whole[name], str):
                raise broken(self, f"'{name}' of a record must be a text, and is {fault.found}")
        return whole

    def problem(self, record: Mapping[str, Any]) -> str | None:
        """What is wrong with a reference that can be told without running it, or None."""
        return None

    @one_each
    def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Whole, str | None]]:
        """Each record with what was missing filled in, and what is wrong with it, or None."""
        for record in records:
            yield record, None

    def canonical(self, record: Mapping[str, Any]) -> str:
        """A key that is equal for records that differ only in layout; by default the text with single spaces."""
        return " ".join(self.render(record).split())

    def copied_part(self, record: Mapping[str, Any]) -> str:
        """A key of what must be new in a synthetic record, equal up to layout and names; by default `canonical`."""
        return self.canonical(record)

    def subject(self, record: Mapping[str, Any]) -> str:
        """What is particular to a record, which is measured and compared: a program, a problem statement."""
        return self.render(record)

    def question(self, record: Mapping[str, Any]) -> str:
        """What is asked about the subject, in a line for readers; empty where the subject says it."""
        return ""

    def program(self, record: Mapping[str, Any]) -> Program | None:
        """What filters may execute of a record; None where it holds nothing to run."""
        return None

    def remarks(self, records: Sequence[Record]) -> list[str]:
        """What is to be known of the data before anything runs, for `domino check` and the log of `prepare`."""
        return []

    def side(self, record: Mapping[str, Any]) -> Side | None:
        """Where a split by kind puts a record: with the references and held-out ones, in the test, or nowhere.

        None, the default, leaves all records to the hashed split.
        """
        return None

    # Answers.

    def answer_text(self, record: Mapping[str, Any]) -> str | None:
        """The record's answer, or None, which NaN is too; `True` and numbers as in an f-string, lists as JSON."""
        return as_text(record.get(self.answer_field))

    def pair(self, record: Mapping[str, Any]) -> Exchange:
        """The chat pair that a coder is trained on: by default the prompt, and the record's answer.

        Raises:
            KeyError: it has none.
        """
        text = self.answer_text(record)
        if text is None:
            raise KeyError(self.answer_field)
        return [*self.prompt(record), {"role": "assistant", "content": text}]

    def has_answer(self, record: Mapping[str, Any]) -> bool:
        """Whether `pair` can be made: by default, whether it raises no KeyError and ends with a text.

        Records without an answer make no training pairs and are left out of the perplexity.
        """
        try:
            content = self.pair(record)[-1]["content"]
        except KeyError:
            return False
        return content is not None and bool(content.strip())

    def answered(self, records: Sequence[Record], what: str) -> list[Record]:
        """The records that have an answer; how many have none is said.

        Args:
            records: prepared ones.
            what: to call them, such as "finetune: reference".
        """
        found = [record for record in records if self.has_answer(record)]
        if left := len(records) - len(found):
            log.warning(
                "%s: %d of %d rows have no answer, as %s.has_answer has it, and are left out.",
                what, left, len(records), type(self).__name__,
            )  # fmt: skip
        return found

    @one_each
    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """Answer synthetic records, in order; by default with the answer that their own text holds, or `no_answer`.

        Args:
            records: what to answer.
            workers: programs executed at a time.
            solutions: sampled completions of each record's `prompt`, where the domain `needs_solutions`.
            agreement: when solutions agree well enough.
        """
        for record in records:
            if self.has_answer(record):
                yield Answered(record)
            else:
                yield Answered(record, "no_answer", f"the text gives no '{self.answer_field}'")

    @one_each_in("completions")
    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Annotated[Verdict, CONSISTENT]]]:
        """Grade every completion of every record, in order; a wrong, empty or unreadable one counts as failed.

        By default it passes where it is the record's answer but for layout. An answer that is a number in the record
        is compared as a number (`42` is 42.0), a truth value whatever its case.
        """
        for record, texts in zip(records, completions, strict=True):
            answer, value = self.answer_text(record), record.get(self.answer_field)
            yield [self._compare(text, answer, value if as_text(value) == answer else answer) for text in texts]

    def measures(self, record: Mapping[str, Any], completion: str) -> Mapping[MeasureName, Sequence[Share]]:
        """Numbers from 0 to 1 that a completion is measured by beside passing, under names that `evaluate` has not.

        `evaluate` reports the mean of each over all completions, with an interval over groups of records.
        """
        return {}

    def _compare(self, text: str, answer: str | None, value: Any) -> Verdict:
        if answer is None:
            return Verdict(False, "error", f"the problem has no '{self.answer_field}' to compare with")
        if is_same(text, value):
            return Verdict(True, "passed")
        return Verdict(False, "failed", f"gave {_shown(text)}, expected {_shown(answer)}")

    @classmethod
    def smoke_answer(cls, prompt: str) -> str:
        """What `--smoke` takes for a model's answer to a prompt, since a random model writes none."""
        return "no answer"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
