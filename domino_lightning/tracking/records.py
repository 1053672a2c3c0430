"""The records of a `.wandb` file, read and written: protocol buffers in LevelDB's log format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domino_lightning.utils.atomic import atomic_write

# Blocks of chunks with checksum, length and kind, after a header of seven bytes.
_BLOCK, _FILE_HEADER, _CHUNK_HEADER = 1 << 15, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Any]:
    """Its records; what a killed run left unfinished at the end is passed over."""
    return map(parsed, raw_records(path))


def parsed(raw: bytes) -> Any:
    """A record from its bytes."""
    from wandb.proto import wandb_internal_pb2

    record: Any = vars(wandb_internal_pb2)["Record"]  # a class that protobuf makes at run time
    return record.FromString(raw)


def raw_records(path: Path) -> Iterator[bytes]:
    """The bytes of its records, as `read_records`."""
    data, position, parts = path.read_bytes(), _FILE_HEADER, b""
    while position + _CHUNK_HEADER <= len(data):
        room = _BLOCK - position % _BLOCK
        if room < _CHUNK_HEADER:  # the rest of a block is padding
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        end = position + _CHUNK_HEADER + length
        if end > len(data):  # cut off by a kill
            return
        chunk, position = data[position + _CHUNK_HEADER : end], end
        parts = chunk if kind in (_FULL, _FIRST) else parts + chunk
        if kind in (_FULL, _LAST):
            yield parts


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write the file anew with records of these bytes, atomically; its header stays."""
    header = path.read_bytes()[:_FILE_HEADER]
    with atomic_write(path) as temporary:
        temporary.write_bytes(header + b"".join(_chunks(records, len(header))))


def _chunks(records: Iterable[bytes], position: int) -> Iterator[bytes]:
    for data in records:
        first = True
        while first or data:
            room = _BLOCK - position % _BLOCK
            if room < _CHUNK_HEADER:
                yield bytes(room)
                position += room
                continue
            part, data = data[: room - _CHUNK_HEADER], data[room - _CHUNK_HEADER :]
            kind = (_FULL if first else _LAST) if not data else (_FIRST if first else _MIDDLE)
            yield struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            position += _CHUNK_HEADER + len(part)
            first = False
