"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domino_lightning.errors import Busy, UserError

LOCK = ".lock"  # in the folder of a trial or a sweep that is running


@contextmanager
def held(path: Path, what: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file.

    Raises:
        Busy: another process holds it still after `timeout_s`; below 0 it is waited for.
        UserError: it cannot be locked, for example since a directory lies there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise Busy(f"{what}: another process is running it.") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {what} cannot be locked ({reason}). Remove what lies there.") from None
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; one that is not there is held by nobody."""
    if not path.is_file():
        return False
    try:
        with held(path, str(path)):
            return False
    except Busy:
        return True
    except UserError:  # on a store that is only read, for example: it cannot be told
        return False
