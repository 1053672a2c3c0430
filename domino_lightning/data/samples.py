"""Which texts are one sample; apart from the DataModules, since a plan asks for it and does without torch."""

from __future__ import annotations

from collections.abc import Sequence

from domino_lightning.utils.jsonl import Record


def sample_indices(rows: Sequence[Record]) -> list[int]:
    """(N,) which sample each row is a copy of: rows that share `group` share their sample tokens."""
    index: dict[str, int] = {}
    return [index.setdefault(str(row.get("group", row["id"])), len(index)) for row in rows]
