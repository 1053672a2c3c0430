"""Files that are either the old one or complete, whatever kills the process that writes them."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_beside(path: str | Path) -> Path:
    """A name that nothing has yet, in the same folder: hidden, with host, process and a random token."""
    target = Path(path)
    return target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path, for a file or a symbolic link; when the block succeeds it is moved over `path`, after fsync."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        if not temporary.is_symlink():
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
