"""The commands of `domino`, each with its handler and its arguments; light, as everything that --help needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from domino_lightning.execution.sandbox.tiers import TIERS
from domino_lightning.stages import STAGES, stage_class

EPILOG = """overrides are dotted keys of the document, e.g. tune.trainer.max_steps=200 seed=1
exit codes: 0 done, 1 a stage failed, 2 bad input, 130 interrupted (the same command continues)"""

KINDS = ("verifiable", "text", "code")  # of a new project
PARTS = ("data", "soft-prompt", "coder")  # of a release


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        name: what is typed.
        module, function: `domino_lightning.cli.<module>.<function>` handles it.
        summary: one line for --help.
        arguments: adds its arguments to a parser.
        description: a sentence for its own --help.
        epilog: what stands below it.
    """

    name: str
    module: str
    function: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    description: str | None = None
    epilog: str | None = None


def _run(parser: argparse.ArgumentParser) -> None:
    _experiment(parser)
    parser.add_argument("--until", choices=STAGES, metavar="STAGE", help="stop after this stage")


def _experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="experiment YAML, for example experiments/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value, applied from left to right")
    parser.add_argument("--trial", metavar="NAME", help="name of the run under runs/<experiment>/ (default: overrides)")
    parser.add_argument(
        "--force", choices=STAGES, action="append", default=[], metavar="STAGE", help="run this stage again"
    )
    _skip_bad_lines(parser)
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny random model and a few rows, in one process, in seconds"
    )


def _document(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="experiment YAML")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value")
    _skip_bad_lines(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    _document(parser)
    parser.add_argument(
        "--print_config",
        "--print-config",
        action="store_true",
        help="print the resolved document, with where each value came from, and check nothing",
    )


def _preview(parser: argparse.ArgumentParser) -> None:
    _document(parser)
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="candidates to sample (default: 8)")
    parser.add_argument("--again", action="store_true", help="run it again, where it has been before")


def _skip_bad_lines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-bad-lines", action="store_true", help="leave bad rows out, counted and reported")


def _sweep(parser: argparse.ArgumentParser) -> None:
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


def _new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", type=Path, help="folder to write; its name becomes the project's")
    parser.add_argument("--domain", choices=KINDS, default=KINDS[0], help=f"what it is about (default: {KINDS[0]})")


def _plan(parser: argparse.ArgumentParser) -> None:
    _document(parser)
    parser.add_argument("--tflops", type=float, metavar="N", help="10^12 FLOP/s of matrices (default: measured here)")
    parser.add_argument("--bandwidth-gbs", type=float, metavar="N", help="GB/s of memory (default: measured here)")
    memory = "plan for a GPU with so much memory and bfloat16, such as 80GB (default: the GPU that is here, if one is)"
    parser.add_argument("--gpu-memory", metavar="SIZE", help=memory)


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


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, help="a sweep (its YAML or directory), or trials, experiments, a store's root"
    )
    parser.add_argument(
        "--output", type=Path, help="directory to write (default: report; for a sweep <root>/sweeps/<name>/report)"
    )
    parser.add_argument(
        "--watch", action="store_true", help="of a sweep: write again every 15 s until all its trials have ended"
    )
    parser.add_argument("--baseline", metavar="ARM", help="arm of a sweep to compare with (default: the sweep's)")
    parser.add_argument(
        "--map", choices=["pca", "umap"], default="pca", help="projection of the maps of corpora (default: pca)"
    )


def _power(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, help="a sweep: its YAML or its directory <root>/sweeps/<name>")
    parser.add_argument("--points", type=float, default=3.0, metavar="N", help="difference of pass@1 (default: 3)")
    parser.add_argument("--power", type=float, default=0.8, metavar="P", help="chance to see it (default: 0.8)")
    parser.add_argument("--baseline", metavar="ARM", help="arm to compare with (default: the sweep's)")


def _dashboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, help="a sweep: its YAML or its directory <root>/sweeps/<name>")


def _grade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", type=Path, required=True, metavar="P.jsonl", help="problems with tests")
    parser.add_argument("--solutions", type=Path, required=True, metavar="S.jsonl", help="rows of id and completions")
    parser.add_argument("--output", type=Path, required=True, metavar="V.jsonl", help="verdicts, in the same order")
    parser.add_argument("--timeout-s", type=float, default=6.0, help="CPU seconds of a run (default: 6)")
    parser.add_argument("--memory-mb", type=int, default=1024, help="MiB of a run (default: 1024)")
    parser.add_argument("--workers", type=int, metavar="N", help="programs at a time (default: the cores there are)")
    parser.add_argument("--compat", choices=["lcb"], default="", help="lenient rules of LiveCodeBench's checker")
    parser.add_argument("--tier", choices=TIERS, help="isolation (default: the best that the host allows)")
    _skip_bad_lines(parser)


def _wandb_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("outputs"), help="store (default: outputs)")


def _push(parser: argparse.ArgumentParser) -> None:
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


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, help="runs/<experiment>/<trial>, or a stage in it")
    parser.add_argument("b", type=Path, help="the same")


def _gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", nargs="?", type=Path, default=Path("outputs"), help="store (default: outputs)")
    parser.add_argument("--delete", action="store_true", help="delete them")


def _agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mailbox", type=Path, help="folder of the pilot")
    parser.add_argument("--node", type=int, metavar="K", help="which node of the pilot this is (default: Slurm's)")


def _ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", nargs="?", type=Path, default=Path("outputs"), help="store (default: outputs)")


GRADE = "Give every completion a verdict. Killed at any instant, the same command continues."
PUSH = "Each part is a repository: USER/NAME the data, USER/NAME-soft-prompt, USER/NAME-coder."


def _stage(name: str) -> Command:
    summary = stage_class(name).summary
    description = f"{name}: {summary}. Stages it reads must be finished."
    return Command(name, "run", "run_stage", summary, _experiment, description, EPILOG)


COMMANDS = (
    Command("run", "run", "run", "run all stages of an experiment in order", _run, epilog=EPILOG),
    *map(_stage, STAGES),
    Command(
        "sweep", "sweep", "sweep", "run an experiment over axes and seeds, sharing stages", _sweep, epilog=EPILOG
    ),
    Command("new", "new", "new", "write a project: a domain, its data, an experiment, a sweep and a test", _new),
    Command(
        "check", "check", "check", "validate configuration and data of an experiment, loading no model", _check,
        epilog=EPILOG,
    ),
    Command("plan", "plan", "plan", "estimate tokens, FLOPs, memory and time of each stage", _plan, epilog=EPILOG),
    Command("preview", "preview", "show", "a few rows through all stages up to answer, each with its fate", _preview),
    Command("help", "help", "show", "what a class is for and its options, or the keys of a stage's section", _help),
    Command("merge", "coder", "merge", "write a run's coder as one model with its tokenizer", _merge),
    Command("chat", "coder", "chat", "talk to a run's coder, line by line", _chat),
    Command("report", "report", "report", "write report.html and results.csv for a sweep or any set of runs", _report),
    Command("power", "power", "show", "from a pilot sweep, the seeds and problems that a difference needs", _power),
    Command(
        "dashboard", "report", "dashboard", "define a sweep's W&B workspace and report, as JSON when offline",
        _dashboard,
    ),
    Command("grade", "grade", "grade", "run solutions on the tests of their problems, in a sandbox", _grade, GRADE),
    Command(
        "wandb-sync", "report", "wandb_sync", "upload W&B runs that were kept offline, and attach their lineage",
        _wandb_sync,
    ),
    Command(
        "push", "push", "push", "release a run's data, soft prompt and coder on the Hugging Face hub", _push, PUSH
    ),
    Command("diff", "store", "diff", "two trials or stages: keys that differ, stages they share, numbers", _diff),
    Command("gc", "store", "gc", "list stages that no trial or sweep needs; --delete removes them", _gc),
    Command("agent", "agent", "agent", "run stages for a sweep on a cluster, which starts this itself", _agent),
    Command("ls", "store", "ls", "list runs, their stages and scores", _ls),
)  # fmt: skip
