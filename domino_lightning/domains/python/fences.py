"""Fenced blocks in what a model wrote: where each begins and ends."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.python.source import parse_python

_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<label>[\w+#-]*)(?![^\n]*`)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python numbers them, and not `str.splitlines`
_TRIES = 16  # ends of a block that are looked at


class Block(NamedTuple):
    """The label of a block's fence, and where its body begins and ends."""

    label: str
    start: int
    end: int


class _End(NamedTuple):
    """Where a body ends, and the number of the line to go on from."""

    position: int
    line: int


def fenced_blocks(text: str) -> Iterator[Block]:
    """Every block of a text, also unclosed or indented ones; a fence with a label also ends the block before.

    A fence in a string of the block's own code does not end it: where what comes before is no Python, and all up to a
    later fence is, the block goes on to that one.
    """
    lines = _LINE.findall(text)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    number = 0
    while number < len(lines):
        mark = _FENCE.match(lines[number])
        number += 1
        if mark:
            start = offsets[number]
            end = _end(text, start, [*_ends(lines, offsets, number, mark["fence"])])
            yield Block(mark["label"], start, end.position)
            number = end.line


def _ends(lines: list[str], offsets: list[int], number: int, fence: str) -> Iterator[_End]:
    """Where a block whose body begins at a line may end: at the next fences, or with the text."""
    found = 0
    for place in range(number, len(lines)):
        line = lines[place]
        mark = _FENCE.match(line)
        if mark and mark["fence"][0] == fence[0]:
            yield _End(offsets[place], place if mark["label"] else place + 1)
        elif not mark and line.rstrip().endswith(fence) and line.count(fence) == 1:
            yield _End(offsets[place] + line.rindex(fence), place + 1)
        else:
            continue
        found += 1
        if found == _TRIES:
            return
    yield _End(offsets[-1], len(lines))


def _end(text: str, start: int, ends: list[_End]) -> _End:
    """The first end before which all is Python; else the first."""
    if len(ends) > 2:  # one fence that closes it, and the end of the text: nothing to choose
        return next((end for end in ends if parses(text[start : end.position])), ends[0])
    return ends[0]


def parses(code: str) -> bool:
    """Whether a text is Python, up to its indentation."""
    try:
        parse_python(textwrap.dedent(code).strip("\n"))
    except Unparsable:
        return False
    return True
