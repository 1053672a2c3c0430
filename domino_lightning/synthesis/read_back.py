"""Whether a domain reads the texts of its references back as what they are, as it will read sampled texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.synthesis.screen import read
from domino_lightning.utils.jsonl import Record

LOOKED_AT = 64  # references
SHOWN = 60  # characters of an answer or a key in a message
REMEDY = "domino_lightning.testing.check_domain tries both (docs/write_a_domain.md)"


def read_back(domain: Domain, references: Sequence[Record]) -> list[str]:
    """What a domain makes of the first references' texts that it should not, in words.

    Raises:
        UserError: it reads none of them, so that no sampled text could become a record either.
    """
    looked, name = references[:LOOKED_AT], f"{type(domain).__module__}.{type(domain).__qualname__}.parse"
    refused: list[str] = []
    keys: list[str] = []
    answers: list[str] = []
    for record in looked:
        try:
            back, key = read(domain, record["text"])
        except Unparsable as error:
            refused.append(f"'{record['id']}' ({error.reason}: {error})")
            continue
        wanted, found = _answer(domain, record), _answer(domain, back)
        if wanted is not None and found is not None and wanted.split() != found.split():
            answers.append(f"'{record['id']}' ({_cut(found)}, and its answer is {_cut(wanted)})")
        elif (own := domain.canonical(record)) != key:
            keys.append(f"'{record['id']}' ({_cut(key)}, and its own is {_cut(own)})")
    if refused and len(refused) == len(looked):
        raise UserError(
            f"{name} reads none of the {len(looked)} references looked at, whose texts render wrote; the "
            f"first: {refused[0]}. Nothing that is sampled could become a record. Mend render or parse; {REMEDY}."
        )
    found_out = {
        "which it refuses": refused,
        "which it reads with another answer": answers,
        "which it reads as records of another canonical key": keys,
    }
    return [
        f"{name} is given the texts of {len(looked)} references, {len(rows)} of {what}; the first: "
        f"{rows[0]}. Samples like them are lost or altered; {REMEDY}."
        for what, rows in found_out.items()
        if rows
    ]


def _answer(domain: Domain, record: Mapping[str, Any]) -> str | None:
    """A record's answer, where it stays what the text says and can be told before `answer` has run."""
    if domain.needs_solutions:
        return None
    try:
        return domain.answer_text(record)
    except Exception:  # a fork's may need what `answer` has yet to give
        return None


def _cut(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
