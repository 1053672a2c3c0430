"""Files that are either the old one or complete, whatever kills the process that writes them."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_beside(path: str | Path) -> Path:
    """A name that nothing has yet, in the same folder: hidden, with host, process and a random token."""
    target = Path(path)
    return target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def follow_umask(path: Path) -> None:
    """Give a file that a library has made for its owner alone, as safetensors does, the mode of any new file there."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return
    probe = temporary_beside(path)  # which knows the umask and the folder's own rules
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        path.chmod(stat.S_IMODE(os.fstat(descriptor).st_mode))
    finally:
        os.close(descriptor)
        probe.unlink()


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give an error of the system that names no path, as one of a full disk in mid-write does, this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path, for a file or a symbolic link; when the block succeeds it is moved over `path`, after fsync."""
    temporary = temporary_beside(path)
    try:
        with naming(path):
            yield temporary
            if not temporary.is_symlink():
                follow_umask(temporary)
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
