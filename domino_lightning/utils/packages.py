"""Packages that a class needs beside those that are always there, looked for without importing them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from domino_lightning.errors import UserError


def is_there(module: str) -> bool:
    """Whether a package is loaded, or could be."""
    return sys.modules.get(module) is not None or find_spec(module) is not None


def needed(module: str, name: str, extra: str, otherwise: str = "") -> None:
    """Refuse a class whose package is not installed.

    Raises:
        UserError: it names the extra, and what may be used instead.
    """
    if not is_there(module):
        install = f"Install it: pip install 'domino_lightning[{extra}]'"
        raise UserError(f"{name} needs the package {module}. {install}{otherwise}.")
