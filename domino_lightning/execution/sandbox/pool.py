"""This process's boxes: found, opened once, discarded when they fail."""

from __future__ import annotations

import atexit
import os
import threading

from domino_lightning.execution.sandbox import tiers
from domino_lightning.execution.sandbox.box import Box, BoxFailed

_boxes: dict[tuple[int, str], Box] = {}
_boxes_lock = threading.Lock()
_reasons: dict[str, str] = {}


def open_box(tier: str | None = None) -> Box:
    """This process's box: of the tier that was asked for, else of the best that the host allows.

    Raises:
        UserError: the tier cannot be had, or only `rlimits` could and nobody asked for it.
    """
    named = tiers.named_tier(tier)
    with _boxes_lock:
        for wanted in [named] if named else tiers.TIERS[:-1]:
            box = _boxes.get((os.getpid(), wanted))
            if box is not None:
                return box
            if wanted in _reasons:
                continue
            reason = tiers.objection(wanted)
            if reason is None:
                try:
                    box = _boxes[os.getpid(), wanted] = _tried(wanted)
                    atexit.register(_close_all)
                    return box
                except BoxFailed as error:
                    reason = str(error)
            _reasons[wanted] = reason
        raise tiers.refusal({name: _reasons[name] for name in ([named] if named else tiers.TIERS[:-1])})


def discard_box(box: Box) -> None:
    """Close a box that failed; the next `open_box` starts another."""
    with _boxes_lock:
        if _boxes.get((os.getpid(), box.tier)) is box:
            del _boxes[os.getpid(), box.tier]
    box.close()


def _tried(tier: str) -> Box:
    """A box in which a program has run to its end."""
    from domino_lightning.execution.sandbox.running import run_one

    box = Box(tier)
    try:
        ended = run_one(box, {"mode": "program", "code": "print(6 * 7)", "implicit": False})
        if ended.stdout.strip() != b"42":
            raise BoxFailed(ended.failure or "a first program did not run")
    except BaseException:
        box.close()
        raise
    return box


def _close_all() -> None:
    for (pid, _), box in list(_boxes.items()):
        if pid == os.getpid():
            box.close()
