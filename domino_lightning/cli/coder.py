"""domino merge and domino chat."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from domino_lightning.cli.console import make_console
from domino_lightning.results.runs import open_run


def merge(arguments: argparse.Namespace) -> int:
    """Write the coder of a run as one model."""
    from domino_lightning.results.coder import merge_coder

    dtype = merge_coder(open_run(arguments.run), arguments.output, arguments.dtype)
    make_console().print(f"merged in {dtype} · {arguments.output}", highlight=False, soft_wrap=True)
    return 0


def chat(arguments: argparse.Namespace) -> int:
    """Answer lines of standard input until it ends."""
    from domino_lightning.generation.sampling import Sampling
    from domino_lightning.results.coder import NEW, Chat

    sampling = Sampling(arguments.temperature, arguments.top_p, max_new_tokens=arguments.max_new_tokens)
    talk = Chat.with_coder(open_run(arguments.run), sampling, arguments.system, arguments.seed)
    asking = sys.stdin.isatty()
    if asking:
        sys.stderr.write(f"{arguments.run}. A line {NEW} begins another conversation, Ctrl-D ends.\n")
    for text in talk.answers(_lines(asking)):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    return 0


def _lines(asking: bool) -> Iterator[str]:
    """Lines of standard input; on a terminal with a prompt before each."""
    while True:
        if asking:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line
