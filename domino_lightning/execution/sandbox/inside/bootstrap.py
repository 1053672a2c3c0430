"""Runs as `python -c` in a new box: takes the modules of this folder from a socket, enters the box, serves.

Nothing of this project lies in the box, so the modules come as source, whatever their order: an import of one
runs it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import marshal
import socket
import sys
from collections.abc import Callable
from typing import Any


class Sources:
    """Finds and runs modules in source that was sent.

    Args:
        sources: by dotted name; None for a package without code.
    """

    def __init__(self, sources: dict[str, str | None]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """What the import system asks."""
        if name not in self.sources:
            return None
        inner = any(other.startswith(f"{name}.") for other in self.sources)
        return importlib.machinery.ModuleSpec(name, self, is_package=inner)  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        """A plain module."""

    def exec_module(self, module: Any) -> None:
        """Run its source."""
        source = self.sources[module.__name__]
        if source is not None:
            exec(compile(source, f"<inside {module.__name__.rpartition('.')[2]}>", "exec"), vars(module))


def enter(control: socket.socket) -> tuple[Callable[..., None], dict[str, Any]]:
    """Receive, enter the box, and give the fork server's loop with its settings."""
    size = int(control.recv(16, socket.MSG_WAITALL), 16)
    job = marshal.loads(control.recv(size, socket.MSG_WAITALL))
    finder = Sources(job["sources"])
    sys.meta_path.insert(0, finder)
    mounts, zygote = (importlib.import_module(f"{job['inside']}.{name}") for name in ("mounts", "zygote"))
    sys.meta_path.remove(finder)
    if job["layout"]:
        mounts.enter_box(job["layout"])
    elif job["proc"]:
        mounts.mount_proc()  # bubblewrap has covered parts of its own
    sys.path[:] = [path for path in sys.path if path] + job["path"]
    return zygote.serve, job["settings"]


def main() -> None:
    """Serve on the descriptor that the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    serve, settings = enter(control)
    serve(control, settings)


if __name__ == "__main__":
    main()
