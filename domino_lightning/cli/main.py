"""The command `domino`: its parsers, each with its handler, which is imported when it is called."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from domino_lightning import __version__
from domino_lightning.cli.arguments import COMMANDS, EPILOG
from domino_lightning.errors import StageFailed, UserError, disk_trouble
from domino_lightning.utils.own_frames import own_frames, raised
from domino_lightning.utils.streams import enduring_output

Handler = Callable[[argparse.Namespace], int]


def handler(module: str, name: str) -> Handler:
    """A function of `domino_lightning.cli.<module>`, imported when it is called, so that --help answers at once."""

    def call(arguments: argparse.Namespace) -> int:
        code: int = getattr(import_module(f"domino_lightning.cli.{module}"), name)(arguments)
        return code

    return call


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="domino",
        description="Learn a domain from examples, synthesize data for it, fine-tune and score a coder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"domino_lightning {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    for each in COMMANDS:
        added = commands.add_parser(each.name, help=each.summary, description=each.description, epilog=each.epilog)
        added.set_defaults(handler=handler(each.module, each.function))
        each.arguments(added)
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; overrides may stand before, between and after flags."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}; see domino {arguments.command} --help")
    if rest:
        arguments.overrides += rest
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, dispatch, and turn the two kinds of error into one line and an exit code."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        with enduring_output():
            code: int = arguments.handler(arguments)
            return code
    except UserError as error:
        sys.stderr.write(f"domino: {error}\n")
        return 2
    except StageFailed as error:
        sys.stderr.write(f"domino: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("domino: interrupted; the same command continues where it stopped.\n")
        return 130
    except (Exception, SystemExit) as error:  # code of a fork's that exits is no end of the command
        if trouble := disk_trouble(error, "disk"):
            sys.stderr.write(f"domino: {trouble}\n")
            return 1
        if not (own := own_frames(error)) and not isinstance(error, SystemExit):
            raise
        where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"domino: {where}{raised(error)}\n{own}".rstrip() + "\n")
        return 1
