"""Block logs: whatever a kill leaves, recovery gives whole blocks, and continuing gives the same bytes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.errors import StageFailed
from domino_lightning.utils.block_log import BlockLog

BLOCK, TOTAL, PER_SHARD = 3, 20, 2
TEXTS = ("plain", "é\u2028\r\n\x85\x0b", '猫 \\ "quoted"', "")


def row(number: int) -> dict[str, Any]:
    return {"id": number, "text": TEXTS[number % len(TEXTS)], "finished": number % 2 == 0}


def block_log(folder: Path) -> BlockLog:
    return BlockLog(folder, "raw", BLOCK, TOTAL, PER_SHARD)


def write(folder: Path, upto: int = TOTAL) -> list[dict[str, Any]]:
    """What a stage does: recover, then append block after block. Returns what was recovered."""
    log = block_log(folder)
    recovered = log.recover()
    for start in range(len(recovered), upto, BLOCK):
        log.append(start, [row(number) for number in range(start, min(start + BLOCK, TOTAL))])
    return recovered


def contents(folder: Path) -> dict[str, bytes]:
    """The shards; the hashes of their blocks are hidden beside them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("complete")
    write(folder)
    return folder


def test_rows_come_back_in_order_from_numbered_shards(complete: Path) -> None:
    assert block_log(complete).recover() == [row(number) for number in range(TOTAL)]
    assert sorted(contents(complete)) == [f"raw-0000{shard}.jsonl" for shard in range(4)]


def test_lines_are_plain_json_lines(complete: Path) -> None:
    lines = b"".join(contents(complete)[name] for name in sorted(contents(complete))).split(b"\n")
    assert [json.loads(line) for line in lines if line] == [row(number) for number in range(TOTAL)]


def test_an_empty_directory_recovers_to_nothing(tmp_path: Path) -> None:
    assert block_log(tmp_path).recover() == []


def test_a_cut_at_any_byte_of_the_last_block_costs_that_block_at_most(complete: Path, tmp_path: Path) -> None:
    whole = contents(complete)
    last = whole["raw-00003.jsonl"]  # rows 18 and 19, the short last block
    for offset in range(len(last) + 1):
        folder = tmp_path / str(offset)
        folder.mkdir()
        for name, data in whole.items():
            (folder / name).write_bytes(last[:offset] if name == "raw-00003.jsonl" else data)
        recovered = write(folder)
        assert len(recovered) == (TOTAL if offset == len(last) else TOTAL - 2)
        assert contents(folder) == whole


@given(data=st.data())
def test_a_cut_anywhere_recovers_whole_blocks_and_the_same_bytes(complete: Path, data: st.DataObject) -> None:
    whole = contents(complete)
    shard = data.draw(st.integers(0, 3), label="shard")
    name = f"raw-0000{shard}.jsonl"
    offset = data.draw(st.integers(0, len(whole[name])), label="offset")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for each in range(shard + 1):
            (folder / f"raw-0000{each}.jsonl").write_bytes(whole[f"raw-0000{each}.jsonl"])
        with open(folder / name, "r+b") as file:
            file.truncate(offset)
        recovered = write(folder)
        assert len(recovered) == TOTAL or len(recovered) % BLOCK == 0
        assert recovered == [row(number) for number in range(len(recovered))]
        assert len(recovered) >= shard * BLOCK * PER_SHARD
        assert contents(folder) == whole


@pytest.mark.parametrize("tail", [b"\0" * 40, b'{"id": 6, "te', b"not json\n", b"\xff\xfe\n"])
def test_garbage_after_the_last_block_is_cut_off(tmp_path: Path, complete: Path, tail: bytes) -> None:
    first = contents(complete)["raw-00000.jsonl"]
    (tmp_path / "raw-00000.jsonl").write_bytes(first + tail)
    assert len(block_log(tmp_path).recover()) == 6
    assert contents(tmp_path) == {"raw-00000.jsonl": first}


def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, upto=6)
    before = contents(tmp_path)
    assert block_log(tmp_path).recover() == block_log(tmp_path).recover()
    assert contents(tmp_path) == before


def test_a_shard_out_of_place_is_an_error_that_names_it(tmp_path: Path, complete: Path) -> None:
    (tmp_path / "raw-00001.jsonl").write_bytes(contents(complete)["raw-00001.jsonl"])
    with pytest.raises(StageFailed, match=r"raw-00001\.jsonl: unexpected shard; expected raw-00000\.jsonl"):
        block_log(tmp_path).recover()


@given(shard=st.integers(0, 3), share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_made_again(complete: Path, shard: int, share: float, bit: int) -> None:
    whole = contents(complete)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(complete, Path(temporary) / "log"))
        path = folder / f"raw-0000{shard}.jsonl"
        data = bytearray(path.read_bytes())
        data[int(share * len(data))] ^= 1 << bit
        path.write_bytes(data)
        recovered = write(folder)
        assert recovered == [row(number) for number in range(len(recovered))]
        assert shard * BLOCK * PER_SHARD <= len(recovered) < TOTAL
        assert contents(folder) == whole
        assert block_log(folder).recover() == [row(number) for number in range(TOTAL)]


def test_what_is_damaged_is_told(complete: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(complete, tmp_path / "log"))
    path = folder / "raw-00001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"finished"', b'"finishee"', 1))
    assert len(write(folder)) == BLOCK * PER_SHARD
    told = [record.message for record in caplog.records]
    assert "raw-00001.jsonl: an interrupted or damaged block was cut off" in told[0]
    assert ["raw-00002" in told[1], "raw-00003" in told[2]] == [True, True]


@pytest.mark.parametrize("sums", [b"", b"garbage\n\xff\xfe", b"0 123\n3 "])
def test_hashes_that_are_lost_cost_nothing(complete: Path, tmp_path: Path, sums: bytes) -> None:
    folder = Path(shutil.copytree(complete, tmp_path / "log"))
    (folder / ".raw.sha256").write_bytes(sums)
    assert len(block_log(folder).recover()) == TOTAL
