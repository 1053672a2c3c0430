"""Rows in queues and blocks: begun again where a kill cut a queue off, and handed on once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from domino_lightning.errors import StageFailed
from domino_lightning.generation.language_model import Sampled
from domino_lightning.generation.queues import sampled_blocks
from domino_lightning.synthesis import ModelSource, Sampling, TransformersEngine


class Source:
    """Texts that tell their queue, as the last bits of a float do; keeps what it was asked."""

    def __init__(self, short: int = 0) -> None:
        self.asked: list[range] = []
        self.short = short

    def __call__(self, rows: range) -> Iterator[Sampled]:
        self.asked.append(rows)
        return iter([Sampled(f"{row} of {rows}", True, 1) for row in rows[: len(rows) - self.short]])


def texts(source: Source, kept: Sequence[str], total: int, block: int, queue: int) -> list[list[str]]:
    return [[each.text for each in found] for found in sampled_blocks(source, kept, total, block, queue)]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (0, [range(0, 3), range(3, 6), range(6, 9), range(9, 11)]),
        (3, [range(0, 3), range(3, 6), range(6, 9), range(9, 11)]),
        (4, [range(0, 6), range(6, 11)]),
        (100, [range(0, 11)]),
    ],
)
def test_queues_are_whole_blocks_and_blocks_are_what_was_asked(queue: int, expected: list[range]) -> None:
    source = Source()
    found = texts(source, [], 11, 3, queue)
    assert source.asked == expected
    assert [len(block) for block in found] == [3, 3, 3, 2]


@pytest.mark.parametrize("queue", [0, 4, 6, 100])
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 4])
def test_a_queue_that_was_cut_off_gives_the_rows_it_would_have_given(
    queue: int, blocks: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = texts(Source(), [], 11, 3, queue)
    kept = [text for block in whole[:blocks] for text in block]
    with caplog.at_level(logging.WARNING):
        assert texts(Source(), kept, 11, 3, queue) == whole[blocks:]
    assert caplog.records == []


def test_rows_that_come_out_otherwise_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        texts(Source(), ["0 of range(0, 6)", "another", "2 of range(0, 6)"], 11, 3, 6)
    (record,) = caplog.records
    assert record.message.startswith("1 of 3 rows that were there came out otherwise")


def test_rows_are_told_one_by_one_and_those_sampled_again_are_not() -> None:
    told: list[int] = []
    blocks = sampled_blocks(Source(), ["0", "1", "2"], 11, 3, 6, lambda: told.append(1))
    counts = [len(told) for _ in blocks]
    assert counts == [3, 6, 8]  # three of the first queue are there; blocks of 3, 3 and 2 rows follow


def test_too_few_texts_are_refused_before_a_block_is_handed_on() -> None:
    found = sampled_blocks(Source(short=1), [], 5, 3, 6)
    assert len(next(found)) == 3
    with pytest.raises(StageFailed, match="5 texts were asked for, and 4 came"):
        next(found)
    with pytest.raises(StageFailed, match="3 texts were asked for, and more came"):
        list(sampled_blocks(lambda rows: [Sampled("", True, 0)] * 4, [], 3, 3, 0))


def test_texts_are_told_as_soon_as_those_before_them_are_there(tiny_backbone: Path) -> None:
    model = TransformersEngine(2).load(ModelSource(str(tiny_backbone)))
    assert model.queue == 8
    counts: list[int] = []
    prompts, sampling = ["ab", "ab", "c", "de", "de"], Sampling(1.0, max_new_tokens=9)
    told = model.stream(prompts, range(5), 0, sampling, counts.append)
    next(told)
    early = sum(counts)
    rows = list(told)
    assert 0 < early < sum(counts) and len(rows) == 4
    assert rows == model.complete(prompts, range(5), 0, sampling)[1:]
