"""What a trial's domain says of its rows, for a reader; rows that it cannot tell are shown as their text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from domino_lightning.config.nodes import class_of
from domino_lightning.domains.base import Domain
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record


class Reader:
    """Rows in a domain's own terms; a candidate that did not parse, or any row without a domain, is its text.

    Args:
        domain: of the rows; None where its class is not at hand.
    """

    def __init__(self, domain: Domain | None) -> None:
        self.domain = domain

    def subject(self, row: Record) -> str:
        """The program or the problem statement."""
        return self._told(lambda domain: domain.subject(row)) or str(row.get("text") or "")

    def question(self, row: Record) -> str:
        """What is asked about it; empty where the subject says it."""
        return self._told(lambda domain: domain.question(row)) or ""

    def answer(self, row: Record) -> str | None:
        """Its answer, or None."""
        return self._told(lambda domain: domain.answer_text(row))

    def key(self, row: Record) -> str:
        """What must be new in it, equal up to layout and names."""
        return self._told(lambda domain: domain.copied_part(row)) or self.subject(row).strip()

    def _told(self, ask: Callable[[Domain], str | None]) -> str | None:
        try:
            return ask(self.domain) if self.domain is not None else None
        except Exception:  # rows come from disk, and the domain may be a fork's: neither may stop a report
            return None


def reader_of(config: Mapping[str, Any]) -> Reader:
    """The reader of a resolved experiment's rows."""
    node = config.get("domain")
    path = node.get("class_path") if isinstance(node, dict) else None
    try:
        found = class_of(str(path), "domain")
        if isinstance(found, type) and issubclass(found, Domain):  # a stored file names it: nothing else is called
            return Reader(found(**(node.get("init_args") or {}) if isinstance(node, dict) else {}))
    except (UserError, TypeError):
        pass
    return Reader(None)
