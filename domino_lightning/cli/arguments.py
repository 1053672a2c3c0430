"""Arguments of commands that look at an experiment, a class or a coder; light, as everything that --help needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: its name, the module and function that handle it, one line for --help, and its arguments."""

    name: str
    module: str
    function: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]


def document_arguments(parser: argparse.ArgumentParser) -> None:
    """An experiment and overrides."""
    parser.add_argument("experiment", type=Path, help="experiment YAML")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value")
    skip_bad_lines(parser)


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `domino check`."""
    document_arguments(parser)
    parser.add_argument(
        "--print_config",
        "--print-config",
        action="store_true",
        help="print the resolved document, with where each value came from, and check nothing",
    )


def skip_bad_lines(parser: argparse.ArgumentParser) -> None:
    """How bad rows of the data are taken."""
    parser.add_argument(
        "--skip-bad-lines", action="store_true", help="leave bad rows out, counted and reported"
    )


def _preview(parser: argparse.ArgumentParser) -> None:
    document_arguments(parser)
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="candidates to sample (default: 8)")
    parser.add_argument("--again", action="store_true", help="run it again, where it has been before")


def _help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="CLASS", help="a class as class_path has it, one of the package's by its name, or a stage"
    )


def _merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="runs/<experiment>/<trial>")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a directory that is not there yet")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="of the weights (default: the backbone's own)"
    )


def _chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="runs/<experiment>/<trial>")
    parser.add_argument("--system", default="", metavar="TEXT", help="what the coder is told first")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default: 0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="nucleus (default: 1)")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="of an answer (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")


COMMANDS = (
    Command("preview", "preview", "show", "a few rows through all stages up to answer, each with its fate", _preview),
    Command("help", "help", "show", "what a class is for and its options, or the keys of a stage's section", _help),
    Command("merge", "coder", "merge", "write a run's coder as one model with its tokenizer", _merge),
    Command("chat", "coder", "chat", "talk to a run's coder, line by line", _chat),
)
