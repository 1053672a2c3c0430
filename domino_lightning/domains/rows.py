"""Rows that stages hand to each other, and the messages of a chat.

Beside what is named here, a reference and an accepted record hold what their domain puts there, so most functions
take them as `Record`. Candidates, pairs and verdicts have exactly these fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

Message = Mapping[str, str]  # role and content
ROLES = ("assistant", "system", "user")


@dataclass(frozen=True)
class EndsWith:
    """The conversations whose last message is of a role.

    Attributes:
        role: of the last message.
        or_empty: or that have no message.
        or_unsaid: or whose last message has None for its content.
    """

    role: str
    or_empty: bool = False
    or_unsaid: bool = False

    @property
    def words(self) -> str:
        """What such a conversation is."""
        return f"(a chat: 'role' one of {', '.join(ROLES)}, 'content' a text, the last message the {self.role}'s)"

    def __contains__(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        if not messages:
            return self.or_empty
        texts = [each.get("content", 0) for each in messages]
        if self.or_unsaid and texts[-1] is None:
            texts.pop()
        whole = all(isinstance(text, str) for text in texts) and all(each.get("role") in ROLES for each in messages)
        return whole and messages[-1]["role"] == self.role


Question = Annotated[Sequence[Message], EndsWith("user", or_empty=True)]  # empty: nothing is asked
Exchange = Annotated[Sequence[Mapping[str, Any]], EndsWith("assistant", or_unsaid=True)]  # unsaid: no answer is known


@dataclass(frozen=True)
class _MeasureName:
    """The names that numbers of a domain's own may have beside those that `evaluate` reports."""

    words = (
        "(none of pass@k, problems, groups, samples, truncated, perplexity or a verdict's status, which are numbers of "
        "evaluate's own, and none that ends in _low or _high, which are ends of intervals: rename it)"
    )

    def __contains__(self, name: str) -> bool:
        part, _, last = name.rpartition("/")
        of_a_part = not part or "=" in part  # "difficulty=easy/pass@1"
        return bool(name) and not name.endswith(("_low", "_high")) and not (of_a_part and _EVALUATED.fullmatch(last))


STATUSES = ("passed", "failed", "error", "timeout", "memory", "output_limit", "crashed")
_EVALUATED = re.compile("|".join([r"pass@.*", "problems", "groups", "samples", "truncated", "perplexity", *STATUSES]))
MeasureName = Annotated[str, _MeasureName()]


class Reference(TypedDict):
    """A record: a row of `prepare`'s splits."""

    id: str
    kind: str  # of its domain
    group: str  # records of a group never stand in different splits
    text: str  # what the backbone learns from


# Fields that stages give a record which was read from a text, and what they hold.
ADDED = {
    "notes": "what filters find out",
    "agreement": "how solutions agree",
    "reason": "why a record has no answer",
    "detail": "that reason in words",
}


class _Whole:
    """The records that have what a `Reference` has."""

    words = "with a text for each of 'group', 'id', 'kind' and 'text'"

    def __contains__(self, record: Mapping[str, Any]) -> bool:
        return all(isinstance(record.get(name), str) for name in Reference.__required_keys__)


Whole = Annotated[Record, _Whole()]


class Accepted(Reference):
    """A record that came through `curate`."""

    notes: NotRequired[dict[str, Any]]  # what filters found out, by filter


class CandidateRow(TypedDict):
    """A text that `synthesize` has sampled."""

    id: str
    k: int  # place in the order of sampling
    text: str
    finished: bool  # it ended by itself
    num_tokens: int
    screen: str  # "ok", or why the screen would not count it


class Pair(TypedDict):
    """A conversation that ends with the assistant's answer."""

    messages: Sequence[Message]
    source_id: str
    provenance: dict[str, Any]


class VerdictRow(TypedDict):
    """A problem with a verdict on each of its completions."""

    id: str
    group: str
    verdicts: list[dict[str, Any]]


def row_id(row: Mapping[str, Any], where: str, names: Sequence[str] = ("id",)) -> str:
    """A row's id as text: of its first field among `names` that holds one, or else its number in the file.

    Raises:
        UserError: an id that is neither a text nor a number.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise UserError(f"{where}: field '{name}' must be a text or a number; it is {value!r}.")
        if value is not None and value != "" and value == value:  # NaN is how tables say that there is none
            return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    return where.rpartition(" ")[2]
