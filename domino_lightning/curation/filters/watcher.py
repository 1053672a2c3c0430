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
    """A call that gives its value and what was noted until then."""
    return lambda *args, **kwargs: [call(*args, **kwargs), sorted(set(events))[:5]]
