"""Messages between a program that serves calls and the checker that makes them, over a socket."""

from __future__ import annotations

import os
from typing import Any

from domino_lightning.execution.sandbox.inside import wire


class Gone(BaseException):
    """The other side is gone, or sends what is no message; not an error that test code can catch by accident."""


class Flood(Gone):
    """There is more to send, or to read, than passes between the two."""


class Peer:
    """One end of the socket; the other end is not trusted. Once it is gone, it is gone for good."""

    def __init__(self, fd: int) -> None:
        self._fd, self._read, self._write, self._dumps, self._loads = fd, os.read, os.write, wire.dumps, wire.loads
        self._deeply = wire.deeply
        self.gone: Gone | None = None

    def send(self, tree: object) -> None:
        """Send a tree.

        Raises:
            Gone: nobody reads it.
        """
        with self._deeply():
            body = self._dumps(tree)
        try:
            for part in (b"%016x" % len(body), body):
                data = memoryview(part)
                while data and self.gone is None:
                    data = data[self._write(self._fd, data) :]
        except OSError as error:
            self.gone = Gone(str(error))
        if self.gone is not None:
            raise self.gone from None

    def receive(self) -> Any:
        """The next tree.

        Raises:
            Gone: there is none.
            Flood: it is longer than `wire.MAX_BYTES`, or has more nodes than `wire.loads` reads.
        """
        try:
            size = int(self._exactly(16), 16)
            if not 0 <= size <= wire.MAX_BYTES:
                raise wire.TooLarge(f"more than {wire.MAX_BYTES} bytes")
            data = self._exactly(size)
            with self._deeply():
                return self._loads(data)
        except wire.TooLarge as error:
            self.flood(str(error))
        except (OSError, ValueError, wire.NotPlain) as error:
            self.gone = Gone(str(error))
        except Gone as error:
            self.gone = error
        raise self.gone or Gone("closed") from None

    def flood(self, why: str) -> Gone:
        """The exception to raise where something is too large to pass; nothing passes any more."""
        self.gone = self.gone or Flood(why)
        return self.gone

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            if self.gone is not None:
                raise self.gone
            part = self._read(self._fd, min(size, 1 << 20))
            if not part:
                raise Gone("closed")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
