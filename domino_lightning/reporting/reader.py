"""What a trial's domain says of its rows, for a reader; rows that it cannot tell are shown as their text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from domino_lightning.config.layers import one_line
from domino_lightning.config.nodes import class_of
from domino_lightning.domains.base import Domain
from domino_lightning.utils.jsonl import Record


class Untold:
    """What domains could not tell of rows, counted, and domains that are not at hand."""

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}
        self.failures: dict[tuple[str, str], set[str]] = {}

    def failed(self, what: str, error: Exception, row: str) -> None:
        """A method of a domain raised on a row."""
        self.failures.setdefault((what, f"{type(error).__name__}: {one_line(error)}"), set()).add(row)

    @property
    def sentences(self) -> list[str]:
        """One for each domain that is not at hand, then one for each method: on how many rows it failed, and how."""
        said = [f"{path} is not at hand ({why}): rows are shown as their text." for path, why in self.absent.items()]
        by_method: dict[str, list[tuple[str, set[str]]]] = {}
        for (what, error), rows in self.failures.items():
            by_method.setdefault(what, []).append((error, rows))
        for what, found in by_method.items():
            rows = set().union(*(each for _, each in found))
            error, first = found[0][0], min(found[0][1])
            said.append(
                f"{what} failed on {len(rows)} {'row' if len(rows) == 1 else 'rows'} of those shown or counted here "
                f"(on '{first}': {error}); what it tells of them is left out."
            )
        return said


class Reader:
    """Rows in a domain's own terms; a candidate that did not parse, or any row without a domain, is its text.

    Args:
        domain: of the rows; None where its class is not at hand.
        untold: takes what the domain raises on a record.
    """

    def __init__(self, domain: Domain | None, untold: Untold | None = None) -> None:
        self.domain, self.untold = domain, untold or Untold()

    @property
    def units(self) -> str:
        """What records are called, in the plural."""
        return f"{self.domain.unit if self.domain is not None else 'record'}s"

    def subject(self, row: Record) -> str:
        """What is particular to it, such as a program or a problem statement."""
        return self._told("subject", row) or str(row.get("text") or "")

    def question(self, row: Record) -> str:
        """What is asked about it; empty where the subject says it."""
        return self._told("question", row) or ""

    def answer(self, row: Record) -> str | None:
        """Its answer, or None."""
        return self._told("answer_text", row)

    def key(self, row: Record) -> str:
        """What must be new in it, equal up to layout and names."""
        return self._told("copied_part", row) or self.subject(row).strip()

    def _told(self, method: str, row: Record) -> str | None:
        if self.domain is None:
            return None
        ask: Callable[[Record], str | None] = getattr(self.domain, method)
        try:
            return ask(row)
        except Exception as error:  # rows come from disk, and the domain may be a fork's: neither may stop a report
            if "kind" in row:  # or it is a candidate that did not parse, which has nothing but its text
                self.untold.failed(f"{type(self.domain).__name__}.{method}", error, str(row.get("id")))
            return None


def reader_of(config: Mapping[str, Any], untold: Untold | None = None) -> Reader:
    """The reader of a resolved experiment's rows.

    Args:
        config: the experiment; one without a domain has rows that are their text.
        untold: takes what the domain cannot tell, itself included.
    """
    node, untold = config.get("domain"), untold or Untold()
    path = node.get("class_path") if isinstance(node, dict) else None
    if not path:
        return Reader(None, untold)
    try:
        found = class_of(str(path), "domain")
        if isinstance(found, type) and issubclass(found, Domain):  # a stored file names it: nothing else is called
            return Reader(found(**(node.get("init_args") or {}) if isinstance(node, dict) else {}), untold)
        untold.absent[str(path)] = "it is no Domain"
    except (Exception, SystemExit) as error:  # its constructor may be a fork's
        untold.absent[str(path)] = one_line(error)
    return Reader(None, untold)
