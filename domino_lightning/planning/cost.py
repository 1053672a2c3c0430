"""What one stage costs: the numbers of an estimate, and how its memory grows with what it does at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LARGEST = 1 << 12  # rows at a time that a search for the largest number ends at
LEFT_FREE = 0.05  # of a device's memory, for its driver, for libraries and for fragments


@dataclass(frozen=True)
class Growth:
    """Memory as a function of how many rows a process handles at a time.

    Attributes:
        key: of the document that sets the number.
        rows: what it is now, of one process.
        processes: that share the key's number.
        memory: bytes at the peak with so many rows; it never falls with their number.
    """

    key: str
    rows: int
    processes: int
    memory: Callable[[int], float]

    def largest(self, limit: float) -> int:
        """The most rows that take at most `limit` bytes; 0: not even one does."""
        below, above = 0, 1
        while above <= LARGEST and self.memory(above) <= limit:
            below, above = above, 2 * above
        if above > LARGEST:
            return below
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.memory(middle) <= limit else (below, middle)
        return below


@dataclass(frozen=True)
class Cost:
    """An estimate; zeros where there is nothing of the kind.

    Attributes:
        what: what it was worked out from, in words.
        tokens: that a model is fed, given or generated.
        flops: of all ranks together.
        share: of the rate of matrix products that this kind of work reaches.
        read: bytes of weights and states that decoding reads, which bounds it where it is not bound by FLOPs.
        memory: bytes of one process at its peak, without Python and libraries.
        dtype: that products are computed in.
        programs: executed.
        workers: of them at a time.
        ranks: processes that share the FLOPs.
        launches: of kernels, in a step of decoding.
        growth: what the memory depends on, where it can be given less or more.
    """

    what: str
    tokens: float = 0.0
    flops: float = 0.0
    share: float = 1.0
    read: float = 0.0
    memory: float = 0.0
    dtype: str = "float32"
    programs: float = 0.0
    workers: int = 1
    ranks: int = 1
    launches: int = 0
    growth: Growth | None = None

    def room(self, memory: float) -> str:
        """Whether it fits a device with so many bytes, and what would.

        Args:
            memory: of the device; a part of it is left free.
        """
        usable = (1 - LEFT_FREE) * memory
        word = "fits" if self.memory <= usable else "does not fit"
        if self.growth is None:
            return word
        rows = self.growth.largest(usable)
        most = f"{self.growth.key} up to {rows * self.growth.processes}"
        return f"{word}; {most if rows else 'not even one row at a time does'}"
