"""The cheap test that counts towards a stop at accepted rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.utils.contract import BrokenContract, broken
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.own_frames import own_frames, raised

# What to try against the reason that took most rows, by how it begins.
REMEDIES = (
    ("unfinished", "Raise the generator's max_new_tokens, or tune longer"),
    ("parse:", "Tune longer, or lower the generator's temperature"),
    ("duplicate", "Raise the generator's temperature"),
)


_SHOWN = 120  # characters of a row in a message


class Screen:
    """The cheap test that counts towards `stop.accepted`: finished, parses, not seen before."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.seen: set[str] = set()

    def __call__(self, text: str, finished: bool) -> str:
        """'ok', or the reason.

        Raises:
            BrokenContract: the domain stumbles over the text.
        """
        if not finished:
            return "unfinished"
        try:
            _, key = read(self.domain, text)
        except Unparsable as error:
            return f"parse:{error.reason}"
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        return "ok"


def read(domain: Domain, text: str) -> tuple[Record, str]:
    """The record that a text is, and its canonical key.

    Raises:
        Unparsable: it is none.
        BrokenContract: the domain stumbles over it.
    """
    try:
        record = domain.parsed(text)
        return record, domain.canonical(record)
    except (Unparsable, UserError):
        raise
    except Exception as error:  # a fork's parser may take a form for granted
        asked = f"parse must return a record or raise Unparsable, and reading {_cut(text)!r}"
        told = broken(domain, f"{asked} raised {raised(error)}")
        raise BrokenContract(f"{told}\n{own_frames(error)}".rstrip()) from error


def shortfall(reasons: Counter[str], wanted: int) -> str:
    """Why the candidates ran out before enough rows had passed the screen, and what may help."""
    _, said, remedy = _worst(reasons)
    return (
        f"synthesize: {reasons['ok']} of {wanted} rows asked for (synthesize.stop.accepted) were screened in when "
        f"all {reasons.total()} candidates (synthesize.stop.candidates) were made. {said} {remedy}; or raise "
        "stop.candidates."
    )


def hopeless(reasons: Counter[str], floor: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why too few rows have passed the screen for anything to be made of them, with three that did not."""
    worst, said, remedy = _worst(reasons)
    texts = [str(row["text"]) for row in rows if row["screen"] == worst][:3]
    shown = " | ".join(repr(_cut(text)) for text in texts)
    return (
        f"synthesize: {reasons['ok']} of {reasons.total()} candidates were screened in, and too few are left to reach "
        f"synthesize.stop.min_screened {floor}. {said} {remedy}. Such rows: {shown}"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _worst(reasons: Counter[str]) -> tuple[str, str, str]:
    """The reason that took most rows, that in a sentence, and what to try."""
    counts = {reason: count for reason, count in reasons.most_common() if reason != "ok"}
    worst = next(iter(counts))
    remedy = next((remedy for start, remedy in REMEDIES if worst.startswith(start)), "See the rows")
    said = f"'{worst}' took most: {counts[worst]} rows, {counts[worst] / reasons.total():.0%}."
    return worst, said, remedy
