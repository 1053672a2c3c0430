"""Messages between a program that serves calls and the checker that makes them, over a socket."""

from __future__ import annotations

import os
from typing import Any

from domino_lightning.execution.sandbox.inside import wire

MAX_BYTES = 64 << 20


class Gone(BaseException):
    """The other side is gone, or sends what is no message; not an error that test code can catch by accident."""


class Peer:
    """One end of the socket; the other end is not trusted."""

    def __init__(self, fd: int) -> None:
        self._fd, self._read, self._write, self._dumps, self._loads = fd, os.read, os.write, wire.dumps, wire.loads

    def send(self, tree: object) -> None:
        """Send a tree.

        Raises:
            Gone: nobody reads it.
        """
        body = self._dumps(tree)
        data = memoryview(b"%016x" % len(body) + body)
        try:
            while data:
                data = data[self._write(self._fd, data) :]
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self) -> Any:
        """The next tree.

        Raises:
            Gone: there is none, or it is longer than `MAX_BYTES`.
        """
        try:
            size = int(self._exactly(16), 16)
            if not 0 <= size <= MAX_BYTES:
                raise Gone("a message that is too long")
            return self._loads(self._exactly(size))
        except (OSError, ValueError, wire.NotPlain) as error:
            raise Gone(str(error)) from None

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._read(self._fd, min(size, 1 << 20))
            if not part:
                raise Gone("closed")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
