"""A box: one isolated fork server, started with the interpreter alone, that forks every program."""

from __future__ import annotations

import contextlib
import inspect
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.execution.sandbox import tiers
from domino_lightning.execution.sandbox.inside import bootstrap
from domino_lightning.execution.sandbox.inside.init import WORK
from domino_lightning.execution.sandbox.inside.zygote import HEADER
from domino_lightning.execution.sandbox.layout import DEVICES, SITE, Layout, bubblewrap_arguments, find_layout

_START_S = 60.0
_INSTALLED = ("site-packages", "dist-packages")
_INSIDE = bootstrap.__name__.rpartition(".")[0]
_FOLDER = Path(bootstrap.__file__).parent
# Enough for most programs, and no more: every page of the fork server costs each program a little.
_PRELOADED = (
    "abc", "array", "ast", "bisect", "collections.abc", "contextlib", "copy", "datetime", "decimal", "enum",
    "fractions", "functools", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "os", "random", "re",
    "statistics", "string", "sys", "threading", "time", "types", "typing", "warnings",
)  # fmt: skip


class BoxFailed(Exception):
    """A box did not start, or is gone; the message says why."""


class Box:
    """A running fork server of one tier.

    Args:
        tier: one of `tiers.TIERS`.
        preload: packages that the fork server imports beforehand.

    Raises:
        BoxFailed: the host does not allow it.
        UserError: the interpreter in the box is not this one.
    """

    def __init__(self, tier: str, preload: Sequence[str] = ()) -> None:
        self.tier = tier
        self.isolated = tier != tiers.RLIMITS
        self._lock = threading.Lock()
        layout = find_layout() if self.isolated else None
        self._control, theirs = socket.socketpair()
        with theirs:
            program = [inspect.getsource(bootstrap), str(theirs.fileno())]
            command = [*self._command(layout), "-P", "-s", "-S", "-B", "-c", *program]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=_environment(self.isolated),
                start_new_session=True,
            )
        try:
            self._shake_hands(layout, preload)
        except BaseException:
            self.close()
            raise

    def _command(self, layout: Layout | None) -> list[str]:
        if self.tier == tiers.BUBBLEWRAP and layout is not None:
            return [*bubblewrap_arguments(layout, shutil.which("bwrap") or "bwrap"), layout.python]
        return [layout.python if layout is not None else sys.executable]

    def _shake_hands(self, layout: Layout | None, preload: Sequence[str]) -> None:
        entered = None
        if layout is not None and self.tier == tiers.NAMESPACES:
            entered = {**asdict(layout), "devices": DEVICES, "privileged": tiers.is_privileged()}
        settings = {
            "isolated": self.isolated,
            "users": tiers.users() if self.isolated else [os.geteuid()],
            "modules": [*_PRELOADED, *preload],
        }
        job = {
            "sources": _sources(),
            "inside": _INSIDE,
            "layout": entered,
            "proc": self.tier == tiers.BUBBLEWRAP and tiers.is_privileged(),
            "path": [SITE] if self.isolated else [path for path in sys.path if path.endswith(_INSTALLED)],
            "settings": settings,
        }
        packed = marshal.dumps(job)
        self._control.settimeout(_START_S)
        try:
            self._control.sendall(b"%016x" % len(packed) + packed)
            answer = self._control.recv(HEADER, socket.MSG_WAITALL)
        except OSError as error:
            answer, failure = b"", str(error)
        else:
            failure = ""
        if len(answer) < HEADER:
            self._process.kill()
            words = self._process.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise BoxFailed(words[-1] if words else failure or "the interpreter did not start")
        self._control.settimeout(None)
        if self._process.stderr is not None:
            self._process.stderr.close()
        found = marshal.loads(answer)
        if self.isolated and (found["version"], found["prefix"]) != (sys.version, sys.base_prefix):
            raise UserError(
                f"the interpreter in the sandbox is Python {found['version'].split()[0]} in {found['prefix']}, "
                f"this one is {sys.version.split()[0]} in {sys.base_prefix}: run it from where it was built for."
            )

    def spawn(self, header: dict[str, Any], fds: Sequence[int]) -> None:
        """Fork a program with these descriptors, the life line first.

        Raises:
            BoxFailed: the box is gone.
        """
        data = marshal.dumps(header).ljust(HEADER, b"\0")
        with self._lock:
            try:
                socket.send_fds(self._control, [data], list(fds))
            except OSError as error:
                raise BoxFailed(f"the sandbox is gone ({error})") from None

    @property
    def gone(self) -> bool:
        """Whether it has ended, and every program in it."""
        try:
            return self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:  # closed here
            return True

    def close(self) -> None:
        """End the fork server, and with it everything that runs in the box."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _sources() -> dict[str, str | None]:
    """The modules that run in the box, by name, and the packages around them, whose code stays outside."""
    parts = _INSIDE.split(".")
    sources: dict[str, str | None] = {".".join(parts[: n + 1]): None for n in range(len(parts))}
    for path in _FOLDER.rglob("*.py"):
        names = path.relative_to(_FOLDER).with_suffix("").parts
        if path != _FOLDER / "__init__.py":
            name = ".".join((_INSIDE, *(names[:-1] if names[-1] == "__init__" else names)))
            sources[name] = path.read_text(encoding="utf-8")
    return sources


def _environment(isolated: bool) -> dict[str, str]:
    environment = {
        "PATH": "/usr/bin:/bin" if not isolated else "/nowhere",
        "HOME": WORK,
        "TMPDIR": WORK,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",  # a set of strings has the same repr in every run
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",  # a thread's stack and buffers count as address space
    }
    if "LD_LIBRARY_PATH" in os.environ:  # some interpreters do not start without it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment
