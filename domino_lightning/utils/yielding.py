"""Being asked to make room: a stage process on a cluster is told some time before its place is taken from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

YIELDED = 75  # exit code of a process that was asked to end and did: "try again" in sysexits.h
SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
MAY_YIELD = "DOMINO_MAY_YIELD"  # in the environment of ranks that will be asked


class _State:
    asked = False
    watched = False  # by training, which looks between two steps


def heed() -> None:
    """From now on a signal asks this process to end: between two steps where it trains, else at once as Ctrl-C does."""

    def ask(number: int, frame: Any) -> None:
        _State.asked = True
        if not _State.watched:
            raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, ask)


def may_be_asked() -> bool:
    """Whether ranks of this run look for it; the same on all of them."""
    return bool(os.environ.get(MAY_YIELD))


def asked() -> bool:
    """Whether this process was asked to end."""
    return _State.asked


@contextmanager
def watched() -> Iterator[None]:
    """While training runs, which calls `make_room` between steps, no signal interrupts it."""
    if not may_be_asked():
        yield
        return
    _State.watched = True
    try:
        yield
    finally:
        _State.watched = False


def make_room(any_rank: Callable[[bool], bool], save: Callable[[], None]) -> None:
    """End here, after saving, if any rank was asked to; a collective call.

    Raises:
        KeyboardInterrupt: it was.
    """
    if may_be_asked() and any_rank(_State.asked):
        _State.asked = True
        save()
        raise KeyboardInterrupt
