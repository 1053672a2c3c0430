"""Runs beside a program in the sandbox: an audit hook that notes what the program does to the world outside.

It is there to find carelessness; keeping hostile code in is the sandbox's work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

events: list[str] = []
_CHANGING = ("os.", "shutil.", "socket.", "subprocess.", "tempfile.", "sqlite3.", "ftplib.", "smtplib.", "urllib.")
_HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"}
_SMALL = 512  # bytes of an object that Python's allocator keeps places for
_WRITING = 0o3103  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Note an audit event that changes something."""
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & _WRITING
        if writes and "__pycache__" not in str(path):
            events.append("opens a file for writing")
    elif event.startswith(_CHANGING) and event not in _HARMLESS:
        events.append("calls " + event)
    elif event == "builtins.input":
        events.append("reads standard input")


def watch() -> None:
    """Note what happens from now on, for good."""
    sys.addaudithook(hook)


def watched(call: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A call that gives its value and what was noted until then, with objects at other addresses than without it.

    Both runs are forks of one process, and an object is made where the last of its size was freed: what hangs on an
    address would be the same in both. So the free places of every small size are taken first.
    """

    def noted(*args: Any, **kwargs: Any) -> list[Any]:
        kept: list[object] = [bytes(size) for size in range(0, _SMALL, 8) for _ in range(100)]
        kept += [make() for make in (list, dict, object) for _ in range(100)]
        kept += [float(number) for number in range(100)]
        return [call(*args, **kwargs), sorted(set(events))[:5]]

    return noted
