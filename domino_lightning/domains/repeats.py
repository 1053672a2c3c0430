"""Whether a domain says the same of a record whenever it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from domino_lightning.domains.base import Domain
from domino_lightning.utils.contract import broken
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.read_only import ReadOnly

ALWAYS = ("render", "canonical", "prompt", "answer_text")  # asked in every experiment
SHOWN = 60  # characters of a result in a message


def check_repeats(domain: Domain, record: Record, others: tuple[str, ...] = ()) -> None:
    """Ask everything twice.

    Args:
        domain: whose methods are asked.
        record: a whole one.
        others: methods beside those that every experiment needs.

    Raises:
        BrokenContract: a method gives two results, or changes the record.
    """
    kept = ReadOnly(domain, record)
    for method in (*ALWAYS, *_of_answers(domain, record), *others):
        first, second = (_asked(domain, method, record) for _ in range(2))
        kept.check(method)
        if first != second:
            told = f"{method} must give one result for one record, and for '{record['id']}' gave {_cut(first)}"
            raise broken(domain, f"{told}, then {_cut(second)}; splits, resumed stages and comparisons rest on it")


def _of_answers(domain: Domain, record: Record) -> Iterator[str]:
    if domain.has_answer(record):
        yield "pair"


def _asked(domain: Domain, method: str, record: Record) -> Any:
    found = getattr(domain, method)(record)
    return list(found) if method in ("prompt", "pair") else found


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
