"""prepare: raw reference data → reference, held-out and test, split by hash without overlap."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.data.mixing import ALL, NO_NOISE, Noise, Subset
from domino_lightning.data.sides import by_kind
from domino_lightning.data.source import (
    KEY,
    REMEDY,
    Source,
    Split,
    overlap,
    split_records,
    with_distinct_ids,
    without_repeats,
)
from domino_lightning.data.windows import Windows
from domino_lightning.domains.base import Domain
from domino_lightning.domains.repeats import check_repeats
from domino_lightning.errors import UserError
from domino_lightning.stages.base import Stage, shown
from domino_lightning.store.contents import HUB_DATASET, PIP, data_hash
from domino_lightning.store.work import Section, Work
from domino_lightning.synthesis.screen import Screen
from domino_lightning.utils.jsonl import Record, read_object, write_json, write_jsonl
from domino_lightning.utils.own_frames import raised
from domino_lightning.utils.progress import progress_bar
from domino_lightning.utils.project import located
from domino_lightning.utils.ranges import WORKERS, check_ranges

log = logging.getLogger(__name__)

NOISE_KEY = "prepare.noise.source.path"
SPLITS = "splits.json"
READ_BACK = 8  # references whose text is given to the domain's parser, as sampled ones will be
SMALL_ROWS = 64  # raw rows that a smoke run looks at


@dataclass(frozen=True)
class PrepareRuntime:
    """Settings that change no result.

    Args:
        workers: records worked on at a time, where the domain executes any.
        skip_bad_lines: leave bad rows out, counted and reported, instead of stopping at the first.
    """

    workers: int = 2
    skip_bad_lines: bool = False

    def __post_init__(self) -> None:
        """Refuse no workers.

        Raises:
            OutOfRange: it names them.
        """
        check_ranges("runtime", self, workers=WORKERS)


class Prepare(Stage):
    """Read raw records, check them, and split them.

    Args:
        domain: how rows are read and rendered.
        source: where rows come from.
        split: groups of each split.
        seed: of the split alone.
        subset: a nested part of the reference split.
        noise: foreign rows in place of some references.
        runtime: workers, leniency.
    """

    name = "prepare"
    version = 4
    summary = "read the reference data and split it into reference, held-out and test"
    artifact = "corpus"

    def __init__(
        self,
        domain: Domain,
        source: Source,
        split: Split,
        seed: int = 0,
        subset: Subset = ALL,
        noise: Noise = NO_NOISE,
        runtime: PrepareRuntime = PrepareRuntime(),
    ) -> None:
        self.domain, self.source, self.split, self.seed, self.runtime = domain, source, split, seed, runtime
        self.subset, self.noise = subset, noise
        if split.windows is not None:
            split.windows.days()  # said before any data is read
        self.left_out: Record = {}  # rows, by the reason why; known once the splits are

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """The data's bytes."""
        source = section.get("source")
        path = source.get("path") if isinstance(source, dict) else None
        if not isinstance(path, str) or not path:
            raise UserError(f"{KEY}: {path!r} is not a path. Give a .jsonl or .parquet file, hf:<id> or pip:<...>.")
        found = {"source.path": data_hash(path, KEY)}
        noise = section.get("noise")
        foreign = noise.get("source") if isinstance(noise, dict) else None
        if isinstance(foreign, dict) and isinstance(foreign.get("path"), str):
            found["noise.source.path"] = data_hash(foreign["path"], NOISE_KEY)
        return found

    def splits(self, execute: bool = True) -> dict[str, list[Record]]:
        """Read, check and split, writing nothing.

        Args:
            execute: run the records' programs too, where the domain does.

        Raises:
            UserError: a bad row, an empty source, a split that leaves nothing for a part.
        """
        read = self._read(self.source, KEY, execute, self.split.windows)
        records = with_distinct_ids(without_repeats(read), self.source.path)
        self.left_out = {}
        self._leave_out("repeated", len(read) - len(records), "are as one before them but for their id")
        split = len(records)
        if self.split.windows is not None:
            sides = self.split.windows.sides(records)
            self.left_out["windows"] = {"outside": sides.outside, "straddling": sides.straddling}
            self._say(sides.outside, "lie outside of both date windows")
            self._say(sides.straddling, "are of groups that lie in both date windows")
            split -= sides.outside + sides.straddling
        kinds = by_kind(records, self.domain.side)
        if kinds is not None:
            self.left_out["kinds"] = {"neither": kinds.outside, "straddling": kinds.straddling}
            self._say(kinds.outside, "belong to neither side of the split by kind")
            self._say(kinds.straddling, "are of groups that belong to both sides of the split by kind")
            split -= kinds.outside + kinds.straddling
        for remark in self.domain.remarks(records):
            log.warning("%s: %s", self.source.path, remark)
        splits = split_records(records, self.split, self.seed, kinds)
        beyond = split - sum(map(len, splits.values()))
        self._leave_out("unused", beyond, "are of groups beyond those that prepare.split asks for (null takes them)")
        splits["reference"] = self.subset.of(splits["reference"])
        if self.noise.share and self.noise.source is not None:
            foreign = without_repeats(self._read(self.noise.source, NOISE_KEY, execute))
            mixed = self.noise.mixed_into(splits["reference"], foreign, [*splits["heldout"], *splits["test"]])
            splits["reference"] = with_distinct_ids(mixed, self.noise.source.path)
        screen = Screen(self.domain)
        for record in splits["reference"][:READ_BACK]:  # a text may be no record, and must be no error: see `Screen`
            self._ask_twice(record)
            screen(record["text"], finished=True)
        return splits

    def _ask_twice(self, record: Record) -> None:
        try:
            check_repeats(self.domain, record)
        except UserError:
            raise
        except Exception as error:  # a fork's methods may take for granted what `complete` gives
            kind = type(self.domain).__name__
            raise UserError(
                f"{self.source.path}: row '{record['id']}': {kind} fails on it when asked again ({raised(error)})."
            ) from error

    def _leave_out(self, reason: str, rows: int, why: str) -> None:
        if rows:
            self.left_out[reason] = rows
        self._say(rows, why)

    def _say(self, rows: int, why: str) -> None:
        if rows:
            log.warning("%s: %d row%s left out: they %s.", self.source.path, rows, "s"[rows == 1 :], why)

    def _read(self, source: Source, key: str, execute: bool, windows: Windows | None = None) -> list[Record]:
        """Rows of a source as records; bad ones, without a date for the windows too, stop it or are left out."""
        bad: list[str] = []
        records: list[Record] = []
        places: list[str] = []
        for where, row in source.rows(self.runtime.skip_bad_lines, key):
            try:
                record = self.domain.record(row, where)
                problem = self.domain.problem(record)
                if problem is None and windows is not None:
                    problem = windows.problem(record)
                if problem is not None:
                    raise UserError(f"{where}: row '{record['id']}' {problem}.")
                records.append(record)
                places.append(where)
            except UserError as error:
                bad.append(str(error))
                self._refuse(bad)
        if execute:
            records = self._completed(records, bad, places)
        if bad:
            log.warning("%s: left out %d bad rows; the first: %s", source.path, len(bad), bad[0])
        return records

    def _completed(self, records: Sequence[Record], bad: list[str], places: Sequence[str]) -> list[Record]:
        kept: list[Record] = []
        done = zip(places, self.domain.complete(records, self.runtime.workers), strict=True)
        for where, (record, problem) in progress_bar(iterable=done, total=len(records), desc="prepare", unit="row"):
            if problem is None:
                kept.append(record)
            else:
                bad.append(f"{where}: row '{record['id']}' {problem}.")
                self._refuse(bad)
        return kept

    def _refuse(self, bad: list[str]) -> None:
        if not self.runtime.skip_bad_lines:
            raise UserError(f"{bad[-1]} {REMEDY}")

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """The first rows of the experiment's own data where it is at hand, or else of the domain's embedded corpus."""
        stage = cls.from_config(config)
        own = _is_at_hand(stage.source.path)
        if not own and not stage.domain.corpus:
            raise UserError(f"{KEY}: '{stage.source.path}' is not at hand for --smoke, and the domain has no `corpus`.")
        source = replace(
            stage.source,
            path=stage.source.path if own else stage.domain.corpus,
            limit=SMALL_ROWS,
            fields=stage.source.fields if own else None,  # it belongs to the experiment's own data
        )
        groups = set()
        for where, row in source.rows(skip_bad_lines=True):
            try:
                groups.add(stage.domain.record(row, where)["group"])
            except UserError:  # the stage itself says what is wrong with the row
                continue
        others = max(1, min(4, len(groups) // 4))
        reference = max(1, min(6, len(groups) - 2 * others))
        small: dict[str, Any] = {
            "source": {"path": source.path, "limit": SMALL_ROWS, "fields": source.fields},
            # 6, 4 and 4 groups, or fewer where the first rows hold fewer, which may all be of one date.
            "split": {"reference": reference, "heldout": others, "test": others, "windows": None},
        }
        foreign = stage.noise.source
        if foreign is not None and not _is_at_hand(foreign.path):
            small["noise"] = {"share": 0.0, "source": None}
        return small

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """Rows of the splits."""
        path = directory / SPLITS
        rows = read_object(path)["rows"] if path.is_file() else {}
        return {f"prepare/{split}/rows": count for split, count in rows.items()}

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """Rows of the splits."""
        counts = [shown(metrics, f"prepare/{split}/rows") for split in ("reference", "heldout", "test")]
        return f"{' / '.join(counts)} rows"

    def run(self, work: Work) -> None:
        """Write the three splits and the overlap report."""
        splits = self.splits()
        for name, rows in splits.items():
            write_jsonl(work.directory / f"{name}.jsonl", rows)
        foreign = sum(bool(row.get("foreign")) for row in splits["reference"])
        mixed = {"foreign": foreign} if self.noise.share else {}
        write_json(work.directory / SPLITS, overlap(splits) | self.left_out | mixed)


def _is_at_hand(path: str) -> bool:
    return path.startswith(PIP) or (not path.startswith(HUB_DATASET) and located(path, KEY).is_file())
