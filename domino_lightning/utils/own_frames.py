"""The part of a traceback that lies in code of the user's own: neither in the package nor in an installed library."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_LIBRARIES = {Path(path) for name, path in sysconfig.get_paths().items() if name in {"stdlib", "purelib", "platlib"}}


def own_frames(error: BaseException) -> str:
    """Indented lines for the frames of the user's own code, innermost last; empty where there are none."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    if isinstance(error, SyntaxError) and error.filename and is_own(error.filename):
        own.append(traceback.FrameSummary(error.filename, error.lineno or 0, "<module>"))
    return "".join(traceback.format_list(own)).rstrip("\n")


def raised(error: BaseException) -> str:
    """The exception in one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def is_own(filename: str) -> bool:
    """Whether a file is the user's."""
    path = Path(filename)
    return path.is_file() and not any(path.is_relative_to(folder) for folder in (PACKAGE, *_LIBRARIES))
