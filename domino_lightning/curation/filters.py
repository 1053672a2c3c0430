"""Filters: one small class, one reason code each; composed in YAML by `class_path`, cheap before dear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.records import Record


@dataclass(frozen=True)
class Context:
    """What filters may look at besides the row: the domain and the references."""

    domain: Domain
    references: Sequence[Record]


class Candidate:
    """A raw row and, read on first use, the record that its text holds."""

    def __init__(self, row: Record, domain: Domain) -> None:
        self.row = row
        self.domain = domain

    @cached_property
    def record(self) -> Record:
        """The parsed record with the row's id.

        Raises:
            Unparsable: the text holds none; a filter that lets this through rejects the row.
        """
        return {"id": self.row["id"], **self.domain.parse(self.row["text"])}


class Filter(ABC):
    """Rejects candidates for one reason.

    Class attributes:
        reason: what rejected rows and the funnel call it.
    """

    reason: ClassVar[str]

    def open(self, context: Context) -> None:
        """Prepare what is compared against; called once before the first row."""
        return

    @abstractmethod
    def reject(self, candidate: Candidate) -> str | None:
        """Why the candidate is rejected, in a few words, or None to let it pass."""


class Finished(Filter):
    """Rejects texts that were cut at the length limit instead of ending with EOS."""

    reason = "unfinished"

    def reject(self, candidate: Candidate) -> str | None:
        """By the generator's flag."""
        return None if candidate.row["finished"] else f"no EOS within {candidate.row['num_tokens']} tokens"


class Parses(Filter):
    """Rejects texts that are no record of the domain."""

    reason = "parse"

    def reject(self, candidate: Candidate) -> str | None:
        """By the domain's parser."""
        try:
            _ = candidate.record
        except Unparsable as error:
            return f"{error.reason}: {error}"
        return None


class ExactDuplicate(Filter):
    """Rejects a record that equals an earlier candidate up to layout."""

    reason = "duplicate"

    def open(self, context: Context) -> None:
        """Start with nothing seen."""
        self.domain = context.domain
        self.seen: dict[str, str] = {}

    def reject(self, candidate: Candidate) -> str | None:
        """The first of equal records stays."""
        key = self.domain.canonical(candidate.record)
        first = self.seen.setdefault(key, candidate.row["id"])
        return None if first == candidate.row["id"] else f"same as {first}"


class CopiedFromReference(Filter):
    """Rejects a record whose essence (for code: the function, up to layout and names) is a reference's."""

    reason = "copied"

    def open(self, context: Context) -> None:
        """Index the references."""
        self.domain = context.domain
        self.known = {context.domain.copied_part(record): record["id"] for record in context.references}

    def reject(self, candidate: Candidate) -> str | None:
        """By the domain's key of what must be new."""
        source = self.known.get(self.domain.copied_part(candidate.record))
        return None if source is None else f"same as reference {source}"
