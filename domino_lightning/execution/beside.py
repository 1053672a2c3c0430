"""Modules of this project that run beside a program in the sandbox, where nothing of it lies: sent as source."""

from __future__ import annotations

import inspect
from types import ModuleType


def beside(module: ModuleType, name: str) -> str:
    """A line of source that runs a module and gives the program its namespace, a dict, as `name`.

    One line, so that the program's line numbers move by one; and a namespace of its own, so that builtins which the
    program redefines do not matter.

    Args:
        module: imports the standard library alone.
        name: what the program does not use.
    """
    return f"{name} = {{}}; exec({inspect.getsource(module)!r}, {name})"
