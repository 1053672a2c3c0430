"""Filters: one small class, one reason code each; composed in YAML by `class_path`, cheap before costly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from domino_lightning.curation.similarity import tokens
from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.utils.contract import Contract, one_each
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.ranges import ROWS


@dataclass(frozen=True)
class Context:
    """What filters may look at besides the row.

    Attributes:
        domain: reads rows back.
        references: the records that the domain was learned from.
        others: the remaining splits, `heldout` and `test`.
        workers: programs executed at a time.
    """

    domain: Domain
    references: Sequence[Record]
    others: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    workers: int = 1


class Candidate:
    """A raw row and, read on first use, the record that its text holds.

    Attributes:
        row: the raw row.
        notes: what the filter that looks at the row now finds out about it, by name; kept with the row.
        earlier: what the filters before it have noted.
    """

    def __init__(self, row: Record, domain: Domain) -> None:
        self.row = row
        self.domain = domain
        self.notes: dict[str, Any] = {}
        self.earlier: Mapping[str, Any] = MappingProxyType({})
        self._record: Record | None = None
        self._given = {"row": _texts(row)}

    @property
    def record(self) -> Record:
        """The parsed record with the row's id.

        Raises:
            Unparsable: the text holds none; a filter that lets this through rejects the row.
        """
        if self._record is None:
            self._record = self.domain.parsed(self.row["text"], self.row["id"])
            self._given["record"] = _texts(self._record)
        return self._record

    def altered(self) -> str | None:
        """The first key of the row or its record that is not what it was, in words; None: all of it is."""
        for name, values in {"row": self.row, "record": self._record or {}}.items():
            now, then = _texts(values), self._given.get(name, {})
            if now != then:
                return f"{name}[{next(key for key in {**then, **now} if now.get(key) != then.get(key))!r}]"
        return None

    @cached_property
    def tokens(self) -> list[str]:
        """Tokens of the record's subject."""
        return tokens(self.domain.subject(self.record))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


class Filter(Contract, ABC, more="docs/curation.md says what a filter gives."):
    """Rejects candidates for one reason.

    Class attributes:
        reason: what rejected rows and the funnel call it.
        block_size: None for a filter that is cheap enough to run again after a kill. A number for a costly one:
            rows that are reviewed together, and whose verdicts are committed to disk together.
        coded: whether what `reject` says starts with a code and a colon ("syntax: line 3 ..."), by which the
            funnel counts.
    """

    reason: ClassVar[str]
    block_size: ClassVar[Annotated[int, ROWS] | None] = None
    coded: ClassVar[bool] = False

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, Any]:
        """Keys of `init_args` that name outside content, with what stands for it in the fingerprint."""
        return {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """Arguments of a smoke run over `init_args`: the tiny model in place of a large one."""
        return {"backbone": backbone} if "backbone" in init_args else {}

    def concerns(self, domain: Domain) -> bool:
        """Whether records of a domain can have what it looks at; else it is no step of the funnel."""
        return True

    def open(self, context: Context) -> None:
        """Prepare what is compared against; called once before the first row."""
        return

    @abstractmethod
    def reject(self, candidate: Candidate) -> str | None:
        """Why the candidate is rejected, in a few words, or None to let it pass."""

    @one_each
    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        """`reject` of each, in order; overridden by filters that treat several rows at once."""
        return map(self.reject, candidates)

    def facts(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """Counts for the funnel besides rejections, from the notes of all rows that were reviewed."""
        return {}


class Finished(Filter):
    """Rejects texts that were cut at the length limit instead of ending with EOS."""

    reason = "unfinished"

    def reject(self, candidate: Candidate) -> str | None:
        """By the generator's flag."""
        return None if candidate.row["finished"] else f"no EOS within {candidate.row['num_tokens']} tokens"


class Parses(Filter):
    """Rejects texts that are no record of the domain."""

    reason = "parse"
    coded = True

    def reject(self, candidate: Candidate) -> str | None:
        """By the domain's parser."""
        try:
            _ = candidate.record
        except Unparsable as error:
            return f"{error.reason}: {error}"
        return None


class Length(Filter):
    """Rejects records whose program, or problem statement, is too short or too long.

    Args:
        min_tokens: fewer Python tokens (comments left out) are too few.
        max_tokens: more are too many.
    """

    reason = "length"
    coded = True

    def __init__(self, min_tokens: int = 8, max_tokens: int = 512) -> None:
        if not 0 <= min_tokens <= max_tokens:
            raise UserError(f"Length: min_tokens {min_tokens} must be 0 or more and at most max_tokens {max_tokens}.")
        self.min_tokens, self.max_tokens = min_tokens, max_tokens

    def reject(self, candidate: Candidate) -> str | None:
        """By the number of tokens."""
        count = len(candidate.tokens)
        if count < self.min_tokens:
            return f"short: {count} tokens, fewer than {self.min_tokens}"
        return f"long: {count} tokens, more than {self.max_tokens}" if count > self.max_tokens else None
