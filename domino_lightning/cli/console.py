"""What several subcommands share: the console, and flags that stand for keys of the document."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from domino_lightning.config.layers import Layer

if TYPE_CHECKING:
    from rich.console import Console


def flag_layers(arguments: argparse.Namespace) -> list[Layer]:
    """Flags that stand for keys of the document."""
    lenient = {"prepare": {"runtime": {"skip_bad_lines": True}}}
    return [Layer("--skip-bad-lines", lenient)] if arguments.skip_bad_lines else []


def make_console() -> Console:
    """Standard output, 160 columns wide where it is no terminal."""
    from rich.console import Console

    # No markup: names of trials and directories may hold brackets and colons.
    width = None if sys.stdout.isatty() else 160
    return Console(file=sys.stdout, width=width, markup=False, emoji=False)
