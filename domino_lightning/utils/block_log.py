"""Append-only JSON Lines in blocks: a block is either wholly there after a kill or is made again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import StageFailed
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
    """

    def __init__(self, directory: Path, stem: str, block_size: int, total: int, blocks_per_shard: int = 64) -> None:
        self.directory, self.stem = directory, stem
        self.block_size, self.total = block_size, total
        self.rows_per_shard = block_size * blocks_per_shard

    def _shard(self, row: int) -> Path:
        return self.directory / f"{self.stem}-{row // self.rows_per_shard:05d}.jsonl"

    def recover(self) -> list[Record]:
        """All rows of whole blocks; a block that a kill cut off is removed, with a notice."""
        rows: list[Record] = []
        for path in sorted(self.directory.glob(f"{self.stem}-*.jsonl")):
            if path != self._shard(len(rows)):
                raise StageFailed(f"{path}: unexpected shard; expected {self._shard(len(rows)).name}. Remove it.")
            lines = _whole_lines(path)
            kept = len(lines)
            if len(rows) + kept < self.total:
                kept -= kept % self.block_size
            size = sum(len(line) for line in lines[:kept])
            if size < path.stat().st_size:
                log.warning("%s: an interrupted block was cut off and is made again.", path)
                os.truncate(path, size)
            rows += [json.loads(line) for line in lines[:kept]]
            if len(rows) % self.rows_per_shard:
                break
        return rows

    def append(self, first_row: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Commit one block whose first row has the given number."""
        text = "".join(json_text(row) + "\n" for row in rows)
        with open(self._shard(first_row), "a", encoding="utf-8") as file:
            file.write(text)
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
