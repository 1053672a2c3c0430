"""Standard output and error that outlive their readers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Enduring:
    """A text stream that drops what it is given once nobody reads it: `domino run ... | head` goes on to its end."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._gone = stream, False

    def write(self, text: str) -> int:
        """Write, or drop."""
        if not self._gone:
            try:
                self._stream.write(text)
            except BrokenPipeError:
                self._gone = True
        return len(text)

    def flush(self) -> None:
        """Flush, or find out that nobody reads."""
        if not self._gone:
            try:
                self._stream.flush()
            except BrokenPipeError:
                self._gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def enduring_output() -> Iterator[None]:
    """Within it, a reader of standard output or error that goes away ends nothing."""
    kept = sys.stdout, sys.stderr
    ours = _Enduring(sys.stdout), _Enduring(sys.stderr)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        for stream in ours:
            stream.flush()
        sys.stdout, sys.stderr = kept
        if any(stream._gone for stream in ours):  # or Python complains about what is left when it closes them
            _forget(kept)


def _forget(streams: tuple[Any, Any]) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(devnull, stream.fileno())
    os.close(devnull)
