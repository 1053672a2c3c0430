"""Append-only JSON Lines in blocks: a block is there as it was written or is made again, whatever came between."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from domino_lightning.errors import StageFailed
from domino_lightning.utils.atomic import naming
from domino_lightning.utils.jsonl import Record, json_text

log = logging.getLogger(__name__)


class BlockLog:
    """Rows appended block by block to `<stem>-00000.jsonl`, `<stem>-00001.jsonl`, …, each block fsynced.

    Args:
        directory: where the shards go.
        stem: first part of their names.
        block_size: rows of a block; only the last block of all may be smaller.
        total: rows of the complete log.
        blocks_per_shard: blocks after which a new shard begins.
        sums: folder of the blocks' hashes, `.<stem>.sha256`; by default that of the shards.
    """

    def __init__(
        self,
        directory: Path,
        stem: str,
        block_size: int,
        total: int,
        blocks_per_shard: int = 64,
        sums: Path | None = None,
    ) -> None:
        self.directory, self.stem = directory, stem
        self.sums = (sums or directory) / f".{stem}.sha256"
        self.block_size, self.total = block_size, total
        self.rows_per_shard = block_size * blocks_per_shard

    def _shard(self, row: int) -> Path:
        return self.directory / f"{self.stem}-{row // self.rows_per_shard:05d}.jsonl"

    def recover(self) -> list[Record]:
        """All rows of whole blocks; what a kill cut off or the disk damaged is removed, with what follows it."""
        rows: list[Record] = []
        sums = self._recorded()
        shards = sorted(self.directory.glob(f"{self.stem}-*.jsonl"))
        for number, path in enumerate(shards):
            if path != self._shard(len(rows)):
                raise StageFailed(f"{path}: unexpected shard; expected {self._shard(len(rows)).name}. Remove it.")
            lines = self._intact(path, len(rows), sums)
            size = sum(map(len, lines))
            cut = size < path.stat().st_size
            if cut:
                log.warning("%s: an interrupted or damaged block was cut off and is made again.", path)
                os.truncate(path, size)
            rows += [json.loads(line) for line in lines]
            if cut or len(rows) % self.rows_per_shard:
                for later in shards[number + 1 :]:
                    log.warning("%s: follows on a damaged block and is made again.", later)
                    later.unlink()
                break
        return rows

    def _intact(self, path: Path, first_row: int, sums: Mapping[int, str]) -> list[bytes]:
        """The lines of a shard's leading blocks that are whole and hash to what was recorded, if anything was."""
        lines = _whole_lines(path)
        kept = len(lines)
        if first_row + kept < self.total:
            kept -= kept % self.block_size
        for start in range(0, kept, self.block_size):
            block = b"".join(lines[start : min(start + self.block_size, kept)])
            expected = sums.get(first_row + start)
            if expected is not None and sha256(block).hexdigest() != expected:
                return lines[:start]
        return lines[:kept]

    def _recorded(self) -> dict[int, str]:
        """First row → hash of a block; lines that a kill tore are left out, and the last of several counts."""
        found = {}
        for line in self.sums.read_text("ascii", "replace").splitlines() if self.sums.is_file() else ():
            row, _, digest = line.partition(" ")
            if row.isdigit() and len(digest) == 64:
                found[int(row)] = digest
        return found

    def append(self, first_row: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Commit one block whose first row has the given number."""
        block = "".join(json_text(row) + "\n" for row in rows).encode()
        # The hash comes first: a block that is there has one, unless it is of an earlier version.
        _append(self.sums, f"\n{first_row} {sha256(block).hexdigest()}\n".encode())
        _append(self._shard(first_row), block)


def _append(path: Path, data: bytes) -> None:
    with naming(path), open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(path: Path) -> list[bytes]:
    """The leading lines of a file that are complete JSON."""
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            json.loads(line)
        except ValueError:
            break
        lines.append(line)
    return lines
