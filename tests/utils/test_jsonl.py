"""JSON Lines and JSON files: what is read, what a bad line is told, that a write is whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import (
    canonical_json,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_json,
    write_jsonl,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def test_rows_come_back_as_written_with_unknown_fields(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "é\n\u2028 x", "extra": {"deep": [1, None]}},
        {"id": "b", "text": ""},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl", required=("id", "text")) == rows
    assert len((tmp_path / "rows.jsonl").read_bytes().splitlines()) == 2


def test_blank_lines_are_ignored_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n\n   \n{"id": 2\n')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 4: not JSON"):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"id": ', "line 2: not JSON"),
        (b"[1]", "line 2: a list, where an object is expected"),
        (b"7", "line 2: a int, where an object is expected"),
        (b'{"name": 1}', "line 2: field 'id' is missing"),
        (b'{"id": "\xff"}', "line 2: not UTF-8"),
        (b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 2: not JSON that can be read"),
        (b'{"id": 1, "name": "a", "id": 1}', "line 2: key 'id' is there twice."),
        (b'{"id": 1, "tests": [{"in": 1, "\\u0069n": 2}]}', "line 2: key 'in' is there twice."),
        (b'{"id": ' + b"1" * 5000 + b"}", "line 2: not JSON that can be read"),
    ],
)
def test_a_bad_line_names_file_line_and_field(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n' + line + b"\n")
    with pytest.raises(UserError) as caught:
        read_jsonl(path, required=("id",))
    assert str(caught.value).startswith(f"{path}, {words}")


def test_skipped_lines_are_counted_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\nnonsense\n{"name": 2}\n{"id": 3}\n')
    assert read_jsonl(path, required=("id",), skip_bad_lines=True) == [{"id": 1}, {"id": 3}]
    assert "left out 2 bad lines" in caplog.text
    assert "line 2: not JSON" in caplog.text


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    for read in (read_jsonl, read_json):
        with pytest.raises(UserError, match="none.json: no such file"):
            read(tmp_path / "none.json")
    with pytest.raises(UserError, match="is a directory"):
        read_jsonl(tmp_path)


def test_broken_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"x\.json: not JSON"):
        read_json(path)


def test_a_key_that_is_there_twice_in_a_json_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": {"b": 1, "c": 2, "b": 1}}')
    with pytest.raises(UserError, match=r"x\.json: key 'b' is there twice\."):
        read_json(path)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("rows.jsonl", b"PAR1\x15\x04PAR1", "a Parquet file"),
        ("rows.JSONL", b"PK\x03\x04\x14\x00", "a zip archive"),
        ("rows.jsonl.zst", b"\x28\xb5\x2f\xfd\x04", "compressed by Zstandard"),
        ("rows.jsonl", '{"a": 1}'.encode("utf-16"), "text in UTF-16"),
    ],
)
def test_a_file_of_another_format_is_told_as_that_and_not_as_a_bad_line(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for skip in (False, True):
        with pytest.raises(UserError) as caught:
            read_jsonl(path, skip_bad_lines=skip)
        told = f"{path}: is {kind}, where JSON Lines in UTF-8 are read, plain or gzip. Convert it."
        assert str(caught.value) == told


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "new"}
        raise RuntimeError("killed here")

    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"id": "old"}])
    with pytest.raises(RuntimeError):
        write_jsonl(path, rows())
    with pytest.raises(TypeError):
        write_json(path, object())
    assert read_jsonl(path) == [{"id": "old"}]
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


@given(VALUES)
def test_canonical_json_is_one_text_per_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


def test_canonical_json_ignores_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'


def test_hashes_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "x") == abc
    assert sha256_text("abc") == abc
    assert sha256_text("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n\xef\xbb\xbf{"a": 1}\n{"a": "\xef\xbb\xbf"}\n')
    assert read_jsonl(path) == [{"a": 1}, {"a": "\ufeff"}]
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_half_a_surrogate_pair_comes_back_as_written(tmp_path: Path) -> None:
    rows = [{"é\ud83d": ["\udc00 \\ud83d", "😀"]}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_json(tmp_path / "rows.json", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == read_json(tmp_path / "rows.json") == rows
    assert "é\\ud83d" in (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
