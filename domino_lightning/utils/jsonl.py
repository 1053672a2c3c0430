"""JSON Lines and JSON files: read with errors that name file, line and field, written atomically."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.utils.atomic import atomic_write

Record = dict[str, Any]

log = logging.getLogger(__name__)

PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"
# What files begin with that are plainly no JSON Lines.
_OTHERS = {
    PARQUET: "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}

SURROGATE = re.compile("[\ud800-\udfff]")


class RepeatedKey(ValueError):
    """A JSON object that has a key twice, of which readers would take the last without a word."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        RepeatedKey: an object in it has a key twice.
        ValueError: it is no JSON.
        RecursionError: it is nested too deep.
    """
    return _DECODER.decode(text)


def _distinct(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise RepeatedKey(f"key '{repeated}' is there twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


def read_jsonl(path: str | Path, required: Sequence[str] = (), skip_bad_lines: bool = False) -> list[Record]:
    """All objects of a JSON Lines file (UTF-8, one object a line, blank lines ignored, or gzip of that).

    Args:
        path: the file.
        required: fields that every row must have.
        skip_bad_lines: count and report bad lines instead of stopping at the first.

    Raises:
        UserError: a missing file, or the first bad line, named by file, line and field.
    """
    return [row for _, row in read_numbered_jsonl(path, required, skip_bad_lines)]


def read_numbered_jsonl(
    path: str | Path,
    required: Sequence[str] = (),
    skip_bad_lines: bool = False,
    remedy: str = "Fix or remove the line.",
) -> list[tuple[int, Record]]:
    """As `read_jsonl`, each object with the number of its line; `remedy` ends the error about a bad line."""
    rows: list[tuple[int, Record]] = []
    skipped: list[str] = []
    for number, line in _lines(path):
        try:
            rows.append((number, _parse_line(path, number, line, required)))
        except UserError as error:
            if not skip_bad_lines:
                raise UserError(f"{error} {remedy}") from None
            skipped.append(str(error))
    if skipped:
        log.warning("%s: left out %d bad lines; the first: %s", path, len(skipped), skipped[0])
    return rows


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with open(path, "rb") as raw, _unpacked(raw, path) as file:
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(codecs.BOM_UTF8)  # of the file, or of one that was appended to it
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory, not a JSON Lines file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}, after line {number}: not a whole gzip file ({error}).") from None


def _unpacked(file: io.BufferedReader, path: str | Path) -> gzip.GzipFile | io.BufferedReader:
    """The lines' file, unpacked where it is gzip, whatever its name ends with.

    Raises:
        UserError: it is plainly of another format, so that no line of it is to blame.
    """
    head = file.peek()
    if other := next((kind for magic, kind in _OTHERS.items() if head.startswith(magic)), None):
        raise UserError(f"{path}: is {other}, where JSON Lines in UTF-8 are read, plain or gzip. Convert it.")
    return gzip.open(file) if head.startswith(_GZIP) else file


def _parse_line(path: str | Path, number: int, line: bytes, required: Sequence[str]) -> Record:
    try:
        row = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno}).") from None
    except RepeatedKey as error:
        raise UserError(f"{path}, line {number}: {error}.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets
        raise UserError(f"{path}, line {number}: not JSON that can be read ({error}).") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: a {type(row).__name__}, where an object is expected.")
    for field in required:
        if field not in row:
            raise UserError(f"{path}, line {number}: field '{field}' is missing.")
    return row


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines, atomically: the file is either the old one or complete."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json_text(row) + "\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except RepeatedKey as error:
        raise UserError(f"{path}: {error}.") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise UserError(f"{path}: not JSON ({error}).") from None


def read_object(path: str | Path) -> Record:
    """The object that a JSON file holds.

    Raises:
        UserError: as `read_json`, or it holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {json.dumps(value)[:40]}, where a JSON object is expected.")
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write an indented JSON file, atomically."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """A JSON value as text that can be written as UTF-8: half of a surrogate pair stays an escape."""
    return SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(value, ensure_ascii=False, indent=indent))


def json_fault(value: Any, path: str = "") -> tuple[str, Any] | None:
    """Where a value first holds what cannot be written as JSON, and what that is; None if all of it can."""
    try:
        json.dumps(value)
        return None
    except (ValueError, RecursionError):  # it holds itself, or is too deep
        return path, value
    except TypeError:
        parts = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
    inner = (json_fault(part, f"{path}[{name!r}]") for name, part in parts)
    return next((fault for fault in inner if fault is not None), (path, value))


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces; what fingerprints hash."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex sha256 of a text's UTF-8 bytes (lone surrogates kept as they are)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
