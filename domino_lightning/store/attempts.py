"""Attempts: a stage made in a directory of its own, beside others that make the same one, and published by one rename.

Leases tell who is alive; that a stage is published once rests on the rename alone, which has one winner.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from domino_lightning.errors import StageFailed
from domino_lightning.store.store import MANIFEST, SCRATCH, Store, read_manifest
from domino_lightning.utils.jsonl import sha256_file

SUM = ".sha256"  # ends the name of the file with the hashes that a checkpoint may have
NOT_OURS = {"rank-error.json"}  # of a run, and nothing to continue from
TRIES = 5


def worth_keeping(directory: Path) -> bool:
    """Whether an unfinished stage has a checkpoint or a committed block to continue from."""
    return any(any(directory.rglob(pattern)) for pattern in ("*.ckpt", "*-[0-9][0-9][0-9][0-9][0-9].jsonl"))


def seed(directory: Path, candidates: Iterable[Path]) -> Path | None:
    """Copy into a new directory what an earlier attempt got done: the first candidate that has anything.

    The earlier attempt may be alive and writing. Files are taken in an order in which the copy is a state that a kill
    could have left: the checkpoint that is continued from first, then what it knows of, then what is only appended to.

    Returns:
        The candidate taken.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for source in candidates:
        if source.is_dir() and not (source / MANIFEST).exists() and worth_keeping(source):
            for path in sorted(_files(source), key=_order):
                _copy(path, directory / path.relative_to(source))
            return source
    return None


def _files(source: Path) -> Iterator[Path]:
    for path in source.rglob("*"):
        beside = path.name.endswith(SUM) and path.with_name(path.name.removesuffix(SUM)).is_file()
        if path.is_file() and path.suffix != ".tmp" and path.name not in NOT_OURS and not beside:
            yield path


def _order(path: Path) -> tuple[bool, bool, str]:
    return path.name != "last.ckpt", path.suffix != ".ckpt", str(path)


def _copy(path: Path, target: Path) -> None:
    """Copy a file, and for a checkpoint its hashes, until they fit: a new one may take its place meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sums = path.with_name(path.name + SUM)
    for _ in range(TRIES):
        try:
            shutil.copyfile(path, target)
            if not sums.is_file():
                return
            copied = target.with_name(sums.name)
            shutil.copyfile(sums, copied)
        except FileNotFoundError:  # it has just been published, and is not needed any more
            return
        if sha256_file(target) in copied.read_text(encoding="utf-8").split():
            return


def publish(store: Store, stage: str, digest: str, directory: Path) -> bool:
    """Move an attempt's directory, manifest and all, to the stage's place; whether it was the first.

    What an interrupted run left there is set aside and removed; one that is running is waited for.

    Raises:
        StageFailed: the file system does not let it.
    """
    target = store.path(stage, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(TRIES):
        if store.finished(stage, digest):
            return False
        try:
            os.rename(directory, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise StageFailed(
                    f"{directory} could not be moved to {target} ({error.strerror}). Both must lie on one file system."
                ) from None
            _set_aside(store, stage, digest)
        else:
            _sync(target.parent)
            return True
    raise StageFailed(f"{target}: something writes there without end. Stop it, and give the same command again.")


def _set_aside(store: Store, stage: str, digest: str) -> None:
    """Remove what lies in the stage's place without being finished."""
    target = store.path(stage, digest)
    aside = target.with_name(f".{digest}.{secrets.token_hex(4)}.aside")
    with store.lock(stage, digest):  # of a run on this machine without attempts
        if store.finished(stage, digest):
            return
        try:
            os.rename(target, aside)
        except FileNotFoundError:
            return
    if read_manifest(aside) is not None:  # published between the look and the move: put it back
        try:
            os.rename(aside, target)
        except OSError:  # another attempt is there by now, just as good
            shutil.rmtree(aside, ignore_errors=True)
        return
    shutil.rmtree(aside, ignore_errors=True)


def rename_is_exclusive(folder: Path) -> bool:
    """Whether a directory moved onto one that holds a file is refused, as publication needs."""
    token = secrets.token_hex(8)
    first, second = folder / f".{token}.a", folder / f".{token}.b"
    try:
        for each in (first, second):
            each.mkdir()
            (each / SCRATCH).write_text(token, encoding="utf-8")
        try:
            os.rename(first, second)
        except OSError as error:
            return error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        return False
    finally:
        for each in (first, second):
            shutil.rmtree(each, ignore_errors=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
