"""The project: the folder of the experiment's YAML, where its own modules and data files are looked for first.

It is that of the document loaded last. Processes that this one starts know it from the environment.
"""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from glob import iglob
from importlib import invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path

log = logging.getLogger(__name__)

FOLDERS = "DOMINO_PROJECT"  # environment variable: folders, in the order in which they are looked in


def enter(folders: Sequence[Path]) -> None:
    """Look in these folders from now on, and no longer in those of another project; the working directory is second.

    A module of a project that is left makes way for the one of the same name here.
    """
    left = _folders()
    for folder in left:
        while str(folder) in sys.path:
            sys.path.remove(str(folder))
    os.environ[FOLDERS] = os.pathsep.join(dict.fromkeys(str(folder.resolve()) for folder in folders))
    enter_again()
    _forget_namesakes([folder for folder in left if folder not in _folders()])


def enter_again() -> None:
    """Put the project that the environment names on the import path, before the working directory.

    Both come after the standard library, whose modules are known by version: a `chunk.py` beside the YAML stands in
    for none of them, neither under a fingerprint that does not cover it nor where a library imports the real one.
    """
    wanted = dict.fromkeys([*map(str, _folders()), os.getcwd()])
    others = [path for path in sys.path if path not in ("", *wanted)]
    standard = [path for path in others if _is_standard(path)]
    sys.path[:] = [*standard, *wanted, *(path for path in others if path not in standard)]


def _is_standard(path: str) -> bool:
    home = Path(sysconfig.get_path("stdlib"))
    inside = Path(path).is_relative_to(home) and not {"site-packages", "dist-packages"} & set(Path(path).parts)
    return inside or Path(path) == home.parent / f"python{sys.version_info.major}{sys.version_info.minor}.zip"


def _forget_namesakes(left: Sequence[Path]) -> None:
    """Unload what came from these folders and is found elsewhere now: two experiments of one notebook, for example."""
    invalidate_caches()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not any(Path(file).is_relative_to(folder) for folder in left):
            continue
        top = name.partition(".")[0]
        here = PathFinder.find_spec(top)
        if here is not None and here.origin != getattr(sys.modules.get(top), "__file__", None):
            del sys.modules[name]


def located(path: str, key: str) -> Path:
    """Where a relative path leads: beside the YAML if a file is there, or else from the working directory.

    Args:
        path: as it is written.
        key: begins the warning where both hold such a file.
    """
    for folder in _folders():
        beside = folder / path
        if beside.is_file():
            here = Path(path)
            if here.is_file() and not here.samefile(beside):
                _tell(f"{key}: '{path}' lies in {folder} and in the working directory; the first is read.")
            return beside
    return Path(path)


def places(text: str) -> list[Path]:
    """What is there of the files and folders that a text leads to, beside the YAML and from the working directory."""
    found = [*(folder / text for folder in _folders()), Path(os.path.expanduser(text))]
    return [path for path in found if os.path.exists(path)]  # of any text: a long one is no error


def matching(pattern: str) -> list[Path]:
    """Files that a glob matches, beside the YAML and from the working directory."""
    patterns = [*(str(folder / pattern) for folder in _folders()), os.path.expanduser(pattern)]
    found = (Path(path) for each in patterns for path in sorted(iglob(each, recursive=True)))
    return [path for path in found if path.is_file()]


def is_around(folder: Path) -> bool:
    """Whether the project or the working directory lies in a folder, or is it."""
    return any(each.resolve().is_relative_to(folder.resolve()) for each in (*_folders(), Path.cwd()))


def _folders() -> list[Path]:
    return [Path(text) for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]


@lru_cache(maxsize=64)
def _tell(text: str) -> None:
    """Once a process, however often the file is opened."""
    log.warning("%s", text)
