"""What several subcommands share: the console, flags that stand for keys of the document, what is out of reach."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from domino_lightning.config.document import Config
from domino_lightning.config.layers import Layer
from domino_lightning.errors import Unreachable
from domino_lightning.runner.pipeline import needed_stages
from domino_lightning.stages import Stage
from domino_lightning.utils.jsonl import Record

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


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


def foreseen(
    config: Config, splits: Mapping[str, Sequence[Record]], missing: list[str], stages: Mapping[str, Stage]
) -> list[str]:
    """Settings without effect, over all stages that the experiment needs; what is out of reach goes to `missing`.

    Raises:
        UserError: what a stage would end with.
    """
    from domino_lightning.planning.foresight import Foresight

    foresight = Foresight(config, splits, stages)
    found = [reached(missing, partial(foresight, stage)) or [] for stage in needed_stages(config)]
    return [note for notes in found for note in notes]


def reached(missing: list[str], step: Callable[[], T]) -> T | None:
    """What the step gives; None where it needs something out of reach, which is put down in `missing`."""
    try:
        return step()
    except Unreachable as error:
        missing.append(str(error))
        return None
