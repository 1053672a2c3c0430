"""Raw reference data from JSON Lines, Parquet, a hub dataset or an installed package, and its hashed split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from domino_lightning.data.windows import Sides, Windows
from domino_lightning.errors import Unreachable, UserError
from domino_lightning.store.contents import HUB_DATASET, data_file
from domino_lightning.utils.jsonl import PARQUET, Record, canonical_json, read_numbered_jsonl, sha256_text
from domino_lightning.utils.ranges import Range, check_ranges
from domino_lightning.utils.typed_text import TypedText

log = logging.getLogger(__name__)

SPLITS = ("reference", "heldout", "test")
KEY = "prepare.source.path"
_AS_TEXT = (date, time, timedelta, Decimal, UUID)  # a datetime is a date
MAX_NESTED = 100  # lists and mappings in each other
_INSIDE = ", '"  # between the names of a column and of a field inside it
REMEDY = "Fix or remove it, or leave bad lines out, counted, with --skip-bad-lines."


@dataclass(frozen=True)
class Source:
    """Where raw rows come from.

    Args:
        path: JSON Lines (plain or gzip) or Parquet file, `hf:<dataset id>[:<config>]`, one file of a hub dataset
            (`hf:<owner>/<name>/<file>`, for datasets that come with a loading script), or `pip:<package>/<file>`.
        split: which split of a hub dataset.
        limit: first rows only; null for all.
        fields: names that the domain reads, each with the column that holds it, for data in other formats; a dot
            leads into a nested one (`code: task.solution`). Other columns stay.
    """

    path: str
    split: str = "train"
    limit: int | None = None
    fields: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse a limit that leaves no rows.

        Raises:
            OutOfRange: it names it.
        """
        check_ranges("prepare.source", self, limit=Range("1 or more, or null for all rows", 1))

    @property
    def has_splits(self) -> bool:
        """Whether it is a hub dataset, of which `split` names a part; a file is one whole."""
        return self.path.startswith(HUB_DATASET) and _one_file(self.path) is None

    def rows(self, skip_bad_lines: bool = False, key: str = KEY) -> list[tuple[str, Record]]:
        """Raw rows, each with a name for error messages ("file, line 3"; "row 3" where there are no lines).

        Raises:
            UserError: the source is missing, broken or empty, or holds a value that is neither text nor data.
        """
        unit = "row"
        file = _hub_file(self.path, key) or self.path
        if file.startswith(HUB_DATASET):
            rows = list(enumerate(_hub_rows(self.path.removeprefix(HUB_DATASET), self.split, key), start=1))
        elif _is_parquet(path := data_file(file, key)):
            rows = list(enumerate(_parquet_rows(path), start=1))
        else:
            unit, rows = "line", read_numbered_jsonl(path, skip_bad_lines=skip_bad_lines, remedy=REMEDY)
        rows = rows[: self.limit]
        if not rows:
            raise UserError(f"{key}: '{self.path}' has no rows: there would be nothing to read.")
        named: list[tuple[str, Record]] = []
        bad: list[str] = []
        for number, row in rows:
            where = f"{self.path}, {unit} {number}"
            try:
                named.append((where, _mapped(_plain(row, where), self.fields or {}, where)))
            except UserError as error:
                if not skip_bad_lines:
                    raise UserError(f"{error} {REMEDY}") from None
                bad.append(str(error))
        if bad:
            log.warning("%s: left out %d bad rows; the first: %s", self.path, len(bad), bad[0])
        return named


def _mapped(row: Record, fields: Mapping[str, str], where: str) -> Record:
    """The row with each field under the name that the domain reads."""
    found = {}
    for name, column in fields.items():
        value: Any = row
        for part in column.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise UserError(
                    f"{where}: no column '{column}', which `fields` names for '{name}'; "
                    f"there are {', '.join(map(repr, row)) or 'none'}."
                )
            value = value[part]
        found[name] = value
    return {**row, **found}


def _is_parquet(path: Path) -> bool:
    """By its ending, or by what it begins with: the ending `.pq` is in use too."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".parquet" or file.read(len(PARQUET)) == PARQUET


def _parquet_rows(path: Path) -> list[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Record] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}).") from None
    return rows


def _plain(row: Mapping[str, Any], where: str) -> Record:
    """The row as JSON knows it: dates and decimals as their text, bytes as the UTF-8 text that they hold.

    Raises:
        UserError: bytes that are no text, a value of another type or one nested too deep; it names the column.
    """
    return {name: _value(value, f"{where}: column '{name}'") for name, value in row.items()}


def _value(value: Any, name: str, depth: int = 0) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, _AS_TEXT):
        return TypedText(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name} holds bytes that are not UTF-8 text ({error.reason} at byte {error.start}); "
                "store it as text, or leave the column out."
            ) from None
    if depth >= MAX_NESTED:
        raise UserError(f"{name.split(_INSIDE)[0]} is nested more than {MAX_NESTED} levels deep; leave the column out.")
    if isinstance(value, Mapping):
        return {str(key): _value(each, f"{name}{_INSIDE}{key}'", depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_value(each, name, depth + 1) for each in value]
    raise UserError(
        f"{name} holds a {type(value).__name__}, which is neither text, number, date, list nor mapping; "
        "leave the column out."
    )


def _hub_file(spec: str, key: str) -> str | None:
    """Local path of `hf:<owner>/<name>/<file>`, downloaded once; None for any other source.

    Raises:
        UserError: it cannot be downloaded.
    """
    named = _one_file(spec)
    if named is None:
        return None
    from huggingface_hub import hf_hub_download

    try:
        return str(hf_hub_download(*named, repo_type="dataset"))
    except Exception as error:  # the hub client's transport errors derive from no common class
        raise _not_loaded(f"'{spec}'", error, key) from None


def _one_file(spec: str) -> tuple[str, str] | None:
    """The dataset and the file of `hf:<owner>/<name>/<file>`; None for any other source."""
    owner, _, rest = spec.removeprefix(HUB_DATASET).partition("/")
    name, _, file = rest.partition("/")
    return (f"{owner}/{name}", file) if spec.startswith(HUB_DATASET) and file else None


def _not_loaded(what: str, error: Exception, key: str) -> Unreachable:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Unreachable(
        f"{key}: {what} cannot be loaded: {reason} "
        "Check the id and the network, or download it and give the path of a .jsonl or .parquet file."
    )


def _hub_rows(name: str, split: str, key: str) -> list[Record]:
    from datasets import load_dataset

    dataset, _, config = name.partition(":")
    try:
        return [dict(row) for row in load_dataset(dataset, config or None, split=split)]
    except Exception as error:  # datasets raises whatever its transports raise
        raise _not_loaded(f"'hf:{name}' (split {split})", error, key) from None


@dataclass(frozen=True)
class Split:
    """Groups of each split; None takes what is left, and at most one may.

    Args:
        reference: groups to learn the domain from.
        heldout: groups to choose checkpoints by.
        test: groups to score the coder on.
        windows: split by date first: reference and held-out come from one window, test from another.
    """

    reference: int | None = 48
    heldout: int | None = 24
    test: int | None = None
    windows: Windows | None = None


def split_records(
    records: Sequence[Record], split: Split, seed: int, kinds: Sides | None = None
) -> dict[str, list[Record]]:
    """Assign whole groups by the hash of (seed, group), so that a row's split depends on nothing else's order.

    Args:
        records: all of them.
        split: groups of each split.
        seed: of the hash.
        kinds: the sides of a split by kind, where the domain has one.

    Raises:
        UserError: too few groups, a split that would be empty, or a record without a date under windows.
    """
    if kinds is not None:
        if split.windows is not None:
            raise UserError("prepare.split.windows: the domain splits by kind already. Give one of the two.")
        learned = _by_hash(kinds.reference, SPLITS[:2], split, seed, " to learn from")
        return learned | _by_hash(kinds.test, SPLITS[2:], split, seed, " to test on")
    if split.windows is None:
        return _by_hash(records, SPLITS, split, seed, "")
    sides = split.windows.sides(records)
    learned = _by_hash(sides.reference, SPLITS[:2], split, seed, " in the reference window")
    return learned | _by_hash(sides.test, SPLITS[2:], split, seed, " in the test window")


def _by_hash(
    records: Sequence[Record], names: Sequence[str], split: Split, seed: int, where: str
) -> dict[str, list[Record]]:
    groups = sorted({record["group"] for record in records}, key=lambda group: sha256_text(f"{seed}/{group}"))
    asked = {name: getattr(split, name) for name in names}
    open_splits = [name for name, size in asked.items() if size is None]
    fixed = sum(size for size in asked.values() if size is not None)
    if len(open_splits) > 1:
        raise UserError(f"prepare.split: only one split may be null (what is left); {' and '.join(open_splits)} are.")
    sizes = {name: len(groups) - fixed if size is None else size for name, size in asked.items()}
    there = f"of {len(groups)} distinct groups{where}"
    remedy = "Every split needs at least one: lower the others, or give more data."
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"prepare.split: {asked} leaves 0 {there} for {name}. {remedy}")
    if fixed > len(groups):
        raise UserError(f"prepare.split: {asked} asks for {fixed} {there}. {remedy}")
    parts: dict[str, list[Record]] = {}
    for name, size in sizes.items():
        members, groups = set(groups[:size]), groups[size:]
        parts[name] = [record for record in records if record["group"] in members]
    return parts


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


def with_distinct_ids(records: Sequence[Record], source: str) -> list[Record]:
    """Records of which each has an id of its own: "7" that comes again with other content becomes "7#2"."""
    seen: set[str] = set()
    kept, renamed = [], []
    for record in records:
        name, number = record["id"], 1
        while name in seen:
            number += 1
            name = f"{record['id']}#{number}"
        if number > 1:
            renamed.append(f"'{record['id']}' is now '{name}'")
        seen.add(name)
        kept.append({**record, "id": name})
    if renamed:
        log.warning("%s: %d rows have an id that came before; the first: %s.", source, len(renamed), renamed[0])
    return kept
