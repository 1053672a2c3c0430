"""A split by kind: the domain says which records are learned from and which ones test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domino_lightning.data.windows import Sides
from domino_lightning.domains.base import Side
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record


def by_kind(records: Sequence[Record], side: Callable[[Record], Side | None]) -> Sides | None:
    """The records of each side; None where the domain puts none on any, and the split is by hash alone.

    A group with records on both sides stays with the references, so that the test holds no copy of one.

    Raises:
        UserError: some records have a side, and others none.
    """
    found = [side(record) for record in records]
    if all(each is None for each in found):
        return None
    if None in found:
        record = records[found.index(None)]
        raise UserError(f"row '{record['id']}' has no side, as the domain's `side` has it, but others do.")
    learned = [record for record, each in zip(records, found, strict=True) if each == "reference"]
    taken = {record["group"] for record in learned}
    test = [record for record, each in zip(records, found, strict=True) if each == "test"]
    kept = [record for record in test if record["group"] not in taken]
    return Sides(learned, kept, found.count("neither"), len(test) - len(kept))
