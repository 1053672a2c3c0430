"""The ways a command ends badly: the input was wrong or out of reach, or a stage failed."""

from __future__ import annotations

import errno
from pathlib import Path


class UserError(Exception):
    """Bad input. The message names the file, line, field or flag, the value and the remedy.

    The command line prints the message alone and exits with 2; nothing half-written is left behind.
    """


class OutOfRange(UserError):
    """A number outside its range, as the class that it is given to says."""

    def __init__(self, where: str, name: str, value: object, words: str) -> None:
        self.where, self.name, self.value, self.words = where, name, value, words
        super().__init__(f"{where}: {name} {value} must be {words}.")


class Unreachable(UserError):
    """Something on a model or data hub, neither at hand nor to be had now; all else may be fine."""


class StageFailed(Exception):
    """A stage that started could not finish. The message names the stage and its last error; exit code 1."""


class Changed(StageFailed):
    """Code or outside content is not what it was when the run was planned; nothing may be stored under that plan."""


class Busy(Exception):
    """Another process holds the stage, and the caller would not wait."""


_DISK = {
    errno.ENOSPC: "the disk is full. Free space",
    errno.EDQUOT: "the quota of the disk is used up. Free space",
    errno.ENOTDIR: "a file, where a directory is expected. Move it away",
    errno.EEXIST: "a file, where a directory is expected. Move it away",
    errno.EISDIR: "a directory, where a file is expected. Move it away",
    errno.EACCES: "no permission. Mend it, or name another root",
    errno.EPERM: "no permission. Mend it, or name another root",
    errno.EROFS: "the file system is read-only. Name another root",
    errno.EIO: "the disk fails. Look at its state",
}


def disk_trouble(error: BaseException, where: object) -> str | None:
    """The line about an error that is the disk's and not the program's; None for any other error.

    Args:
        error: what was raised; libraries in other languages give the system's words instead of its number.
        where: named if the error names no path.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and any(words in str(error) for words in ("No space left on device", "os error 28")):
        number = errno.ENOSPC
    if number not in _DISK:
        return None
    named = [name for name in (getattr(error, "filename2", None), getattr(error, "filename", None)) if name]
    path = Path(str((named or [where])[0]))
    if number in (errno.ENOTDIR, errno.EEXIST):  # what is in the way may be farther up
        path = next((each for each in (*reversed(path.parents), path) if each.is_file()), path)
    return f"{path}: {_DISK[number]}, and give the same command again; nothing that had finished is lost."
