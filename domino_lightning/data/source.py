"""Raw reference data from JSON Lines, Parquet, a hub dataset or an installed package, and its hashed split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.records import Record, canonical_json, read_numbered_jsonl, sha256_text
from domino_lightning.resources import HUB_DATASET, data_file

SPLITS = ("reference", "heldout", "test")
KEY = "prepare.source.path"
REMEDY = "Fix or remove it, or leave bad lines out, counted, with --skip-bad-lines."


@dataclass(frozen=True)
class Source:
    """Where raw rows come from.

    Args:
        path: .jsonl, .jsonl.gz or .parquet file, `hf:<dataset id>[:<config>]`, or `pip:<package>/<file>`.
        split: which split of a hub dataset.
        limit: first rows only.
    """

    path: str
    split: str = "train"
    limit: int | None = None

    def rows(self, skip_bad_lines: bool = False, key: str = KEY) -> list[tuple[str, Record]]:
        """Raw rows, each with a name for error messages ("file, line 3"; "row 3" where there are no lines).

        Raises:
            UserError: the source is missing, broken or empty.
        """
        unit = "row"
        if self.path.startswith(HUB_DATASET):
            rows = list(enumerate(_hub_rows(self.path.removeprefix(HUB_DATASET), self.split, key), start=1))
        elif (file := data_file(self.path, key)).suffix == ".parquet":
            rows = list(enumerate(_parquet_rows(file), start=1))
        else:
            unit, rows = "line", read_numbered_jsonl(file, skip_bad_lines=skip_bad_lines, remedy=REMEDY)
        rows = rows[: self.limit]
        if not rows:
            raise UserError(f"{key}: '{self.path}' has no rows: there would be nothing to read.")
        return [(f"{self.path}, {unit} {number}", row) for number, row in rows]


def _parquet_rows(path: Path) -> list[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = [_plain(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}).") from None
    return rows


def _plain(row: Mapping[str, Any]) -> Record:
    """The row with dates and other values that JSON does not know as text."""
    plain: Record = json.loads(json.dumps(dict(row), default=str))
    return plain


def _hub_rows(name: str, split: str, key: str) -> list[Record]:
    from datasets import load_dataset

    dataset, _, config = name.partition(":")
    try:
        return [_plain(row) for row in load_dataset(dataset, config or None, split=split)]
    except Exception as error:  # datasets raises whatever its transports raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{key}: 'hf:{name}' (split {split}) cannot be loaded: {reason} "
            "Check the id and the network, or download it and give the path of a .jsonl or .parquet file."
        ) from None


@dataclass(frozen=True)
class Split:
    """Groups of each split; None takes what is left, and at most one may."""

    reference: int | None = 48
    heldout: int | None = 24
    test: int | None = None


def split_records(records: Sequence[Record], split: Split, seed: int) -> dict[str, list[Record]]:
    """Assign whole groups by the hash of (seed, group), so that a row's split depends on nothing else's order.

    Raises:
        UserError: too few groups, or a split that would be empty.
    """
    groups = sorted({record["group"] for record in records}, key=lambda group: sha256_text(f"{seed}/{group}"))
    sizes = {name: getattr(split, name) for name in SPLITS}
    open_splits = [name for name, size in sizes.items() if size is None]
    fixed = sum(size for size in sizes.values() if size is not None)
    if len(open_splits) > 1:
        raise UserError(f"prepare.split: only one split may be null (what is left); {' and '.join(open_splits)} are.")
    for name in SPLITS:
        size = len(groups) - fixed if sizes[name] is None else sizes[name]
        if size < 1 or fixed > len(groups):
            raise UserError(
                f"prepare.split: {dict(sizes)} leaves {max(0, size)} of {len(groups)} distinct groups for {name}. "
                f"Every split needs at least one: lower the others, or give more data."
            )
        sizes[name] = size
    bounds = [0, sizes["reference"], sizes["reference"] + sizes["heldout"], sum(sizes.values())]
    where = {
        group: name
        for name, start, stop in zip(SPLITS, bounds[:-1], bounds[1:], strict=True)
        for group in groups[start:stop]
    }
    return {name: [record for record in records if where.get(record["group"]) == name] for name in SPLITS}


def overlap(splits: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """Rows, groups, and the number of groups that two splits share, which should be 0."""
    groups = {name: {record["group"] for record in rows} for name, rows in splits.items()}
    pairs = [(a, b) for i, a in enumerate(SPLITS) for b in SPLITS[i + 1 :]]
    return {
        "rows": {name: len(rows) for name, rows in splits.items()},
        "groups": {name: len(members) for name, members in groups.items()},
        "overlap": {f"{a}/{b}": len(groups[a] & groups[b]) for a, b in pairs},
    }


def without_repeats(records: Sequence[Record]) -> list[Record]:
    """Records with equal content but for their id, once each."""
    seen: set[str] = set()
    kept = []
    for record in records:
        key = canonical_json({name: value for name, value in record.items() if name != "id"})
        if key not in seen:
            seen.add(key)
            kept.append(record)
    return kept
