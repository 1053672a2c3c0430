"""Rows sampled queue after queue and handed on block by block, so that a kill changes no byte."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from domino_lightning.errors import StageFailed
from domino_lightning.generation.language_model import Sampled

log = logging.getLogger(__name__)


def sampled_blocks(
    stream: Callable[[range], Iterable[Sampled]],
    kept: Sequence[str],
    total: int,
    block_size: int,
    queue: int,
    on_row: Callable[[], object] = lambda: None,
) -> Iterator[list[Sampled]]:
    """Blocks of the rows that are missing, in order, each as soon as its rows are there.

    Rows flow through the slots of a model one queue through, whatever the block. Which rows share a queue decides how
    sums are rounded; so queues begin at the same rows always, and one that a kill cut off is begun again: its rows
    that are there already are sampled once more, beside the others as before, and thrown away.

    Args:
        stream: the texts of a queue's rows, in order.
        kept: the texts of the leading rows, which are there.
        total: rows in all.
        block_size: rows of a block; only the last may be smaller.
        queue: rows of a queue, rounded up to whole blocks.
        on_row: called for every row that was missing, as soon as it and all before it have ended.

    Raises:
        StageFailed: other than one text a row.
    """
    length = block_size * max(1, -(-queue // block_size))
    done = len(kept)
    while done < total:
        start = done - done % length
        rows = range(start, min(start + length, total))
        sampled = iter(stream(rows))
        again = [each.text for each in islice(sampled, done - start)]
        others = sum(one != other for one, other in zip(again, kept[start:done], strict=False))
        if others:
            log.warning(
                "%d of %d rows that were there came out otherwise when sampled again: another machine, number of "
                "threads, version or batch size. They stay as they were.",
                others,
                len(again),
            )
        while done < rows.stop:
            size = min(block_size, rows.stop - done)
            block = []
            for each in islice(sampled, size):
                block.append(each)
                on_row()
            if len(block) < size:
                raise StageFailed(f"{len(rows)} texts were asked for, and {done - start + len(block)} came.")
            yield block
            done += len(block)
        if next(sampled, None) is not None:
            raise StageFailed(f"{len(rows)} texts were asked for, and more came.")
