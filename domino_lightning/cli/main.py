"""The command `domino`: its parsers, each with its handler, which is imported when it is called."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from domino_lightning import __version__
from domino_lightning.cli.arguments import COMMANDS, check_arguments, document_arguments, skip_bad_lines
from domino_lightning.errors import StageFailed, UserError, disk_trouble
from domino_lightning.execution.sandbox.tiers import TIERS
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.utils.own_frames import own_frames, raised
from domino_lightning.utils.streams import enduring_output

EPILOG = """overrides are dotted keys of the document, e.g. tune.trainer.max_steps=200 seed=1
exit codes: 0 done, 1 a stage failed, 2 bad input, 130 interrupted (the same command continues)"""


KINDS = ("verifiable", "text", "code")  # of a new project
PARTS = ("data", "soft-prompt", "coder")  # of a release

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

    def add(name: str, module: str, function: str, summary: str, **options: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=summary, **options)
        added.set_defaults(handler=handler(module, function))
        return added

    run = add("run", "run", "run", "run all stages of an experiment in order", epilog=EPILOG)
    _experiment_arguments(run)
    run.add_argument("--until", choices=STAGES, metavar="STAGE", help="stop after this stage")
    for name in STAGES:
        summary = stage_class(name).summary
        description = f"{name}: {summary}. Stages it reads must be finished."
        _experiment_arguments(add(name, "run", "run_stage", summary, description=description, epilog=EPILOG))
    _sweep_arguments(
        add("sweep", "sweep", "sweep", "run an experiment over axes and seeds, sharing stages", epilog=EPILOG)
    )
    new = add("new", "new", "new", "write a project: a domain, its data, an experiment, a sweep and a test")
    new.add_argument("project", type=Path, help="folder to write; its name becomes the project's")
    new.add_argument("--domain", choices=KINDS, default=KINDS[0], help=f"what it is about (default: {KINDS[0]})")
    check = add(
        "check",
        "check",
        "check",
        "validate configuration and data of an experiment, loading no model",
        epilog=EPILOG,
    )
    check_arguments(check)
    plan = add("plan", "plan", "plan", "estimate tokens, FLOPs, memory and time of each stage", epilog=EPILOG)
    document_arguments(plan)
    plan.add_argument("--tflops", type=float, metavar="N", help="10^12 FLOP/s of matrices (default: measured here)")
    plan.add_argument("--bandwidth-gbs", type=float, metavar="N", help="GB/s of memory (default: measured here)")
    memory = "plan for a GPU with so much memory and bfloat16, such as 80GB (default: the GPU that is here, if one is)"
    plan.add_argument("--gpu-memory", metavar="SIZE", help=memory)
    for each in COMMANDS:
        each.arguments(add(each.name, each.module, each.function, each.summary))
    report = add("report", "report", "report", "write report.html and results.csv for a sweep or any set of runs")
    report.add_argument(
        "runs", nargs="+", type=Path, help="a sweep (its YAML or directory), or trials, experiments, a store's root"
    )
    report.add_argument(
        "--output", type=Path, help="directory to write (default: report; for a sweep <root>/sweeps/<name>/report)"
    )
    report.add_argument(
        "--watch", action="store_true", help="of a sweep: write again every 15 s until all its trials have ended"
    )
    report.add_argument("--baseline", metavar="ARM", help="arm of a sweep to compare with (default: the sweep's)")
    report.add_argument(
        "--map", choices=["pca", "umap"], default="pca", help="projection of the maps of corpora (default: pca)"
    )
    power = add("power", "power", "show", "from a pilot sweep, the seeds and problems that a difference needs")
    power.add_argument("sweep", type=Path, help="a sweep: its YAML or its directory <root>/sweeps/<name>")
    power.add_argument("--points", type=float, default=3.0, metavar="N", help="difference of pass@1 (default: 3)")
    power.add_argument("--power", type=float, default=0.8, metavar="P", help="chance to see it (default: 0.8)")
    power.add_argument("--baseline", metavar="ARM", help="arm to compare with (default: the sweep's)")
    dashboard = add(
        "dashboard", "report", "dashboard", "define a sweep's W&B workspace and report, as JSON when offline"
    )
    dashboard.add_argument("sweep", type=Path, help="a sweep: its YAML or its directory <root>/sweeps/<name>")
    _grade_arguments(add("grade", "grade", "grade", "run solutions on the tests of their problems, in a sandbox"))
    sync = add(
        "wandb-sync", "report", "wandb_sync", "upload W&B runs that were kept offline, and attach their lineage"
    )
    sync.add_argument("--root", type=Path, default=Path("outputs"), help="store (default: outputs)")
    _push_arguments(add("push", "push", "push", "release a run's data, soft prompt and coder on the Hugging Face hub"))
    diff = add("diff", "store", "diff", "two trials or stages: keys that differ, stages they share, numbers")
    diff.add_argument("a", type=Path, help="runs/<experiment>/<trial>, or a stage in it")
    diff.add_argument("b", type=Path, help="the same")
    gc = add("gc", "store", "gc", "list stages that no trial or sweep needs; --delete removes them")
    gc.add_argument("root", nargs="?", type=Path, default=Path("outputs"), help="store (default: outputs)")
    gc.add_argument("--delete", action="store_true", help="delete them")
    agent = add("agent", "agent", "agent", "run stages for a sweep on a cluster, which starts this itself")
    agent.add_argument("mailbox", type=Path, help="folder of the pilot")
    agent.add_argument("--node", type=int, metavar="K", help="which node of the pilot this is (default: Slurm's)")
    ls = add("ls", "store", "ls", "list runs, their stages and scores")
    ls.add_argument("root", nargs="?", type=Path, default=Path("outputs"), help="store (default: outputs)")
    return parser


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, help="sweep YAML; for --status also <root>/sweeps/<name>")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value of the sweep file, or of all trials")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="list trials and distinct stages, run nothing")
    instead.add_argument("--status", action="store_true", help="show how far it is, also while it runs")
    instead.add_argument("--cancel", action="store_true", help="end it and all that it runs, from whatever host")
    instead.add_argument("--logs", metavar="STAGE", help="what a stage printed: its name, or name-fingerprint")
    instead.add_argument("--retry-failed", action="store_true", help="start stages again that failed before")
    instead.add_argument(
        "--export", type=Path, metavar="DIR", help="write numbers and verdicts of finished trials, run nothing"
    )
    parser.add_argument(
        "--import", dest="import_", type=Path, metavar="DIR", help="take verdicts that --export wrote as finished"
    )
    parser.add_argument("--detach", action="store_true", help="run it in the background, and return")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="every distinct stage on a tiny random model, in one process unless the command line names a launcher",
    )


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="experiment YAML, for example experiments/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value, applied from left to right")
    parser.add_argument("--trial", metavar="NAME", help="name of the run under runs/<experiment>/ (default: overrides)")
    parser.add_argument(
        "--force", choices=STAGES, action="append", default=[], metavar="STAGE", help="run this stage again"
    )
    skip_bad_lines(parser)
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny random model and a few rows, in one process, in seconds"
    )


def _grade_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Give every completion a verdict. Killed at any instant, the same command continues."
    parser.add_argument("--problems", type=Path, required=True, metavar="P.jsonl", help="problems with tests")
    parser.add_argument("--solutions", type=Path, required=True, metavar="S.jsonl", help="rows of id and completions")
    parser.add_argument("--output", type=Path, required=True, metavar="V.jsonl", help="verdicts, in the same order")
    parser.add_argument("--timeout-s", type=float, default=6.0, help="CPU seconds of a run (default: 6)")
    parser.add_argument("--memory-mb", type=int, default=1024, help="MiB of a run (default: 1024)")
    parser.add_argument("--workers", type=int, metavar="N", help="programs at a time (default: the cores there are)")
    parser.add_argument("--compat", choices=["lcb"], default="", help="lenient rules of LiveCodeBench's checker")
    parser.add_argument("--tier", choices=TIERS, help="isolation (default: the best that the host allows)")
    skip_bad_lines(parser)


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Each part is a repository: USER/NAME the data, USER/NAME-soft-prompt, USER/NAME-coder."
    parser.add_argument("run", type=Path, help="runs/<experiment>/<trial>")
    parser.add_argument("--to", required=True, metavar="USER/NAME", help="where to push; made if it is not there")
    parts = f"one of {', '.join(PARTS)}; may be repeated (default: all that the run has)"
    parser.add_argument("--only", choices=PARTS, action="append", default=[], metavar="PART", help=parts)
    parser.add_argument("--dry-run", action="store_true", help="list repositories and files, push nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="lay the repositories out in this directory, too")
    parser.add_argument("--private", action="store_true", help="make repositories private")
    for name, what in (("", "what is released"), ("reference-", "the reference data"), ("backbone-", "the models")):
        parser.add_argument(
            f"--{name}license", default="", metavar="NAME", help=f"of {what} (default: the run's answer.card)"
        )
    parser.add_argument("--license-name", default="", metavar="NAME", help="of a license that the hub calls 'other'")
    parser.add_argument("--license-link", default="", metavar="URL", help="of its text")


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
    except OSError as error:
        trouble = disk_trouble(error, "disk")
        if trouble is None:
            raise
        sys.stderr.write(f"domino: {trouble}\n")
        return 1
    except Exception as error:
        if not (own := own_frames(error)):
            raise
        where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"domino: {where}{raised(error)}\n{own}\n")
        return 1
