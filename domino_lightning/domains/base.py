"""What a domain knows: how its records read as text, how a sample is read back, asked, answered and graded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

Message = Mapping[str, str]  # role and content


class Unparsable(ValueError):
    """A sample that is no record of the domain.

    Attributes:
        reason: a short code that funnels count by, for example `syntax`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Program(NamedTuple):
    """What executing a record means: `entry_point(arguments)` after `code`; `arguments` is argument-list source."""

    code: str
    entry_point: str
    arguments: str


@dataclass(frozen=True)
class Agreement:
    """When sampled solutions agree well enough for one of them to be the answer.

    Args:
        min_share: share of all sampled solutions that must give the same outputs; two at least.
        inputs: on how many inputs solutions are compared: those that a record's tests state, and variations.
        own_tests: whether the answer must also pass the record's own tests, whose outputs a model made up.
        timeout_s: CPU seconds of one solution on all inputs.
        seed: of the variations.
    """

    min_share: float = 0.5
    inputs: int = 12
    own_tests: bool = True
    timeout_s: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UserError: it names them.
        """
        if not 0 < self.min_share <= 1 or self.inputs < 1:
            raise UserError(
                f"answer.agreement: min_share {self.min_share} must be in (0, 1], inputs {self.inputs} 1 or more."
            )


DEFAULT_AGREEMENT = Agreement()


class Answered(NamedTuple):
    """A record with its answer, or why it has none."""

    record: Record
    reason: str | None = None  # None: answered
    detail: str = ""


class Verdict(NamedTuple):
    """One graded completion; the fields of design section 5."""

    passed: bool
    status: str
    detail: str = ""
    wall_s: float = 0.0
    tier: str = "none"
    trust: str = "parent"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        return self._asdict()


class Domain(ABC):
    """A kind of data. Subclass it in a fork and name it by `class_path`.

    Class attributes:
        kind: label of its records.
        corpus: data source of a few of its records, used by `--smoke` where the real data is not at hand.
        needs_solutions: whether its synthetic records are answered from solutions that a language model samples.
    """

    kind: ClassVar[str]
    corpus: ClassVar[str]
    needs_solutions: ClassVar[bool] = False

    @abstractmethod
    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """A raw row in one of the formats the domain knows, as a record with `id`, `kind`, `group` and `text`.

        Raises:
            UserError: a row of no known format; the message starts with `where`.
        """

    def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Record, str | None]]:
        """Each record with what was missing filled in, and what is wrong with it, or None."""
        for record in records:
            yield record, None

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
    def canonical(self, record: Mapping[str, Any]) -> str:
        """A key that is equal for records that differ only in layout."""

    @abstractmethod
    def copied_part(self, record: Mapping[str, Any]) -> str:
        """A key of what must be new in a synthetic record, equal up to layout and names."""

    def program(self, record: Mapping[str, Any]) -> Program | None:
        """What filters may execute of a record; None where it holds nothing to run."""
        return None

    @abstractmethod
    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The evaluation prompt, with one worked example."""

    @abstractmethod
    def pair(self, record: Mapping[str, Any]) -> list[Message]:
        """The chat pair that a coder is trained on: the question, and the record's answer."""

    @abstractmethod
    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """Answer synthetic records, in order.

        Args:
            records: what to answer.
            workers: programs executed at a time.
            solutions: sampled completions of each record's `prompt`, where the domain `needs_solutions`.
            agreement: when solutions agree well enough.
        """

    @abstractmethod
    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Verdict]]:
        """Grade every completion of every record, in order; a wrong, empty or unreadable one counts as failed."""
