"""What each subcommand of `domino` does."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from domino_lightning.config.document import Config, Layer, load_config
from domino_lightning.errors import Unreachable, UserError
from domino_lightning.runner.pipeline import make_plan, run_plan, validate
from domino_lightning.stages import STAGES
from domino_lightning.runner.step import Outcome, Step, construct
from domino_lightning.store.store import Store, trial_name

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def dispatch(arguments: argparse.Namespace) -> int:
    """Run the chosen subcommand and give its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if arguments.command == "run":
        return run(arguments, until=arguments.until)
    if arguments.command in STAGES:
        return run(arguments, until=arguments.command, only=arguments.command)
    if arguments.command == "sweep":
        from domino_lightning.cli.sweep import sweep_command

        return sweep_command(arguments, _console())
    if arguments.command == "check":
        return check(arguments)
    if arguments.command == "plan":
        from domino_lightning.cli.plan import plan_command

        return plan_command(arguments, _flag_layers(arguments), _console())
    if arguments.command == "report":
        return report(arguments.runs, arguments.output, arguments.baseline)
    if arguments.command == "dashboard":
        return dashboard(arguments.sweep)
    if arguments.command == "grade":
        return grade(arguments)
    if arguments.command == "wandb-sync":
        return wandb_sync(arguments.root)
    if arguments.command == "diff":
        from domino_lightning.results.diff import diff_command

        return diff_command(arguments.a, arguments.b, _console())
    if arguments.command == "gc":
        from domino_lightning.results.garbage import gc_command

        return gc_command(Store(arguments.root), arguments.delete, _console())
    return ls(arguments.root)


def run(arguments: argparse.Namespace, until: str | None, only: str | None = None) -> int:
    """Run an experiment's stages, or one of them."""
    started = time.monotonic()
    config, trial = _experiment(arguments)
    plan = make_plan(config, until)
    if only is not None:
        _require_inputs(config, plan, only)
    unknown = [stage for stage in arguments.force if stage not in {step.stage for step in plan}]
    if unknown:
        raise UserError(f"--force {unknown[0]}: this run has no such stage; it has {', '.join(s.stage for s in plan)}.")
    console = _console()
    console.print(config.document["name"], style="bold", end="")
    console.print(f" · {trial}", highlight=False, soft_wrap=True)
    outcomes = run_plan(
        config,
        plan,
        trial,
        arguments.overrides,
        force=arguments.force,
        in_process=arguments.smoke,
        announce=lambda text: console.print(text, highlight=False),
    )
    _summary(console, config, trial, outcomes, time.monotonic() - started)
    return 0


def _experiment(arguments: argparse.Namespace) -> tuple[Config, str]:
    extra = _flag_layers(arguments)
    config = load_config(arguments.experiment, arguments.overrides, extra)
    trial = arguments.trial or trial_name(arguments.overrides)
    if arguments.smoke:
        from domino_lightning.runner.smoke import smoke_layer

        validate(config)  # as it stands, before it is made small
        folder = Path(config.document["root"]) / "smoke"
        config = load_config(arguments.experiment, arguments.overrides, [*extra, smoke_layer(config, folder)])
    return config, trial


def _flag_layers(arguments: argparse.Namespace) -> list[Layer]:
    """Flags that stand for keys of the document."""
    lenient = {"prepare": {"runtime": {"skip_bad_lines": True}}}
    return [Layer("--skip-bad-lines", lenient)] if arguments.skip_bad_lines else []


def _require_inputs(config: Config, plan: Sequence[Step], only: str) -> None:
    store = Store(config.document["root"])
    for step in plan:
        if step.stage != only and not store.finished(step.stage, step.key.fingerprint):
            raise UserError(
                f"domino {only}: stage {step.stage} ({step.key.fingerprint}) of this configuration has not finished. "
                f"Run it first with `domino {step.stage}`, or all with `domino run --until {only}`."
            )


def check(arguments: argparse.Namespace) -> int:
    """Validate configuration and data without loading a model or writing anything.

    What lies on a hub that does not answer is named and left out; the rest is checked as far as it goes.
    """
    from domino_lightning.data.source import overlap

    config = load_config(arguments.experiment, arguments.overrides, _flag_layers(arguments))
    validate(config)
    missing: list[str] = []
    plan = _reached(missing, lambda: make_plan(config)) or []
    prepare: Any = construct("prepare", config)
    splits = _reached(missing, lambda: prepare.splits(execute=False)) or {}
    if splits:
        _reached(missing, lambda: _check_texts(config, splits))
    console = _console()
    checked = "configuration and data are" if splits else "the configuration is"
    console.print(f"{arguments.experiment}: {checked} valid.", highlight=False, soft_wrap=True)
    for text in missing:
        console.print(f"  not checked: {text}", highlight=False, soft_wrap=True)
    if splits:
        counts = overlap(splits)
        listed = (f"{name}: {counts['rows'][name]} rows of {counts['groups'][name]} groups" for name in splits)
        console.print(f"  {', '.join(listed)}")
    store = Store(config.document["root"])
    for step in plan:
        state = "finished" if store.finished(step.stage, step.key.fingerprint) else "to run"
        console.print(f"  {step.stage:<11} {step.key.fingerprint}  {state}", highlight=False)
    return 0


def _check_texts(config: Config, splits: dict[str, Any]) -> None:
    """Encode every text that `tune` would read."""
    from domino_lightning.models.backbone import load_tokenizer
    from domino_lightning.data.reference import encode_texts

    settings = config.document["tune"]["data"]
    tokenizer = load_tokenizer(settings["tokenizer"])
    for name in ("reference", "heldout"):
        encode_texts(splits[name], tokenizer, settings["max_length"], settings["too_long"], f"split {name}")


def _reached(missing: list[str], step: Callable[[], T]) -> T | None:
    """What the step gives; None where it needs something out of reach, which is put down in `missing`."""
    try:
        return step()
    except Unreachable as error:
        missing.append(str(error))
        return None


def report(paths: Sequence[Path], output: Path | None, baseline: str | None = None) -> int:
    """Write the report of a sweep or of the given runs, and log it to W&B where they were logged."""
    from domino_lightning.reporting import find_trials, write_report, write_sweep_report
    from domino_lightning.results.runs import is_sweep, open_run, open_sweep
    from domino_lightning.tracking.wandb import log_report

    sweeps = [path for path in paths if is_sweep(path)]
    if sweeps and len(paths) > 1:
        raise UserError(f"report: {sweeps[0]} is a sweep, which has a report of its own. Name it alone.")
    if baseline and not sweeps:
        raise UserError("report: --baseline names an arm of a sweep, and these are runs. Leave it out.")
    if sweeps:
        sweep = open_sweep(sweeps[0])
        written = write_sweep_report(sweep, output or sweep.path / "report", baseline)
        group, runs = sweep.name, sweep.runs()
    else:
        folders = find_trials(paths)
        written = list(write_report(folders, output or Path("report")))
        runs = [open_run(folders[0])]
        group = str(runs[0].trial["experiment"])
    console = _console()
    for path in written:
        console.print(f"{path.stem:<8} {path}", highlight=False, soft_wrap=True)
    if runs and (tracking := runs[0].tracking(group)):
        log_report(tracking, written)
    return 0


def dashboard(path: Path) -> int:
    """Define a sweep's W&B workspace and report."""
    from domino_lightning.reporting.dashboard import write_dashboard
    from domino_lightning.results.runs import open_sweep
    from domino_lightning.stages.base import Tracking

    sweep = open_sweep(path)
    runs = sweep.runs()
    tracking = (runs[0].tracking(sweep.name) if runs else None) or Tracking(group=sweep.name)
    written = write_dashboard(sweep, tracking)
    console = _console()
    for line in (*written.files, *written.urls):
        console.print(str(line), highlight=False, soft_wrap=True)
    if not written.urls:
        console.print("Kept here; with tracking.wandb=online and an API key they are saved in the project too.")
    return 0


def wandb_sync(root: Path) -> int:
    """Upload what was logged offline."""
    from domino_lightning.tracking.offline import sync

    uploaded, attached = sync(root)
    nothing = "" if uploaded or attached else " (nothing was left to do)"
    _console().print(f"{uploaded} runs uploaded, {attached} artifacts linked to the runs that read them{nothing}")
    return 0


def grade(arguments: argparse.Namespace) -> int:
    """Grade a solutions file and say what came of it."""
    from domino_lightning.evaluation.grade import grade_files
    from domino_lightning.execution.unit_test import GRADING, Rules
    from domino_lightning.utils.progress import progress_bar

    started = time.monotonic()
    limits = replace(GRADING, timeout_s=arguments.timeout_s, memory_mb=arguments.memory_mb)
    rules = Rules(limits, arguments.tier, arguments.compat)
    workers = arguments.workers if arguments.workers is not None else _cores()
    with progress_bar(desc="grade", unit="program") as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.initial = total, bar.initial if bar.n else done
            bar.update(done - bar.n)

        found = grade_files(
            arguments.problems,
            arguments.solutions,
            arguments.output,
            rules,
            workers,
            arguments.skip_bad_lines,
            progress,
        )
    seconds = time.monotonic() - started
    console = _console()
    console.print(f"{found.passed} of {found.programs} programs passed · {arguments.output}", highlight=False)
    counts = ", ".join(f"{count} {status}" for status, count in found.statuses.most_common())
    rate = f" · {found.graded / seconds:.1f} programs/s" if found.graded else ""
    lenient = " · compat lcb" if rules.compat else ""
    shared = f" · {found.shared} shared a process with their tests" if found.shared else ""
    console.print(f"{counts} · tier {found.tier}{lenient}{shared}{rate}", highlight=False)
    return 0


def ls(root: Path) -> int:
    """A line per run: status, stages, pass@1."""
    from rich.table import Table

    from domino_lightning.reporting import find_trials
    from domino_lightning.results.runs import open_run

    table = Table(box=None, pad_edge=False)
    for name in ("run", "status", "pass@1", "accepted", "stages"):
        table.add_column(name, overflow="fold")
    for folder in find_trials([root]):
        opened = open_run(folder)
        metrics = opened.metrics
        score = metrics.get("evaluate/test/pass@1")
        accepted = metrics.get("curate/accepted/rows")
        table.add_row(
            f"{opened.trial['experiment']}/{opened.trial['trial']}",
            opened.trial["status"],
            "" if score is None else f"{score:.1%}",
            "" if accepted is None else f"{accepted:.0f}",
            " ".join(f"{stage}:{digest[:6]}" for stage, digest in opened.trial["stages"].items()),
        )
    _console().print(table)
    return 0


def _summary(
    console: Console, config: Config, trial: str, outcomes: Sequence[Outcome], seconds: float
) -> None:
    from rich.table import Table

    from domino_lightning.tracking.wandb import stage_metrics

    ran = [outcome.step.stage for outcome in outcomes if outcome.ran]
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "", "time", "result", "directory"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        table.add_row(
            outcome.step.stage,
            "ran" if outcome.ran else "kept",
            f"{outcome.wall_s:.0f} s" if outcome.ran else "",
            _headline(outcome.step.stage, stage_metrics(outcome.step.stage, outcome.directory)),
            str(outcome.directory),
        )
    console.print(table)
    what = f"ran {', '.join(ran)}" if ran else "nothing to do: every stage had finished before"
    folder = Store(config.document["root"]).trial(config.document["name"], trial)
    console.print(f"{what} · {seconds:.0f} s · {folder}", highlight=False, soft_wrap=True)


def _headline(stage: str, metrics: dict[str, float]) -> str:
    def number(key: str) -> str:
        value = metrics.get(key)
        if value is None or not isfinite(value):
            return "?"
        return f"{value:.0f}" if value == int(value) else f"{value:.3f}"

    if stage == "prepare":
        return " / ".join(number(f"prepare/{split}/rows") for split in ("reference", "heldout", "test")) + " rows"
    if stage == "tune":
        return f"held-out NLL {number('tune/heldout/nll_best')} nats/token"
    if stage == "synthesize":
        return f"{number('synthesize/raw/screened_in')} of {number('synthesize/raw/candidates')} screened in"
    if stage == "curate":
        return f"{number('curate/accepted/rows')} accepted"
    if stage == "answer":
        return f"{number('answer/pairs/rows')} pairs"
    if stage == "finetune":
        return f"{number('finetune/train/steps')} steps on {number('finetune/train/pairs')} pairs"
    name = "evaluate/test/pass@1"
    score = metrics.get(name)
    if score is None:
        return "scored"
    if name + "_low" not in metrics:
        return f"pass@1 {score:.1%}, one group: no interval"
    return f"pass@1 {score:.1%} [{metrics[name + '_low']:.1%}, {metrics[name + '_high']:.1%}]"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _console() -> Any:
    from rich.console import Console

    # No markup: names of trials and directories may hold brackets and colons.
    width = None if sys.stdout.isatty() else 160
    return Console(file=sys.stdout, width=width, markup=False, emoji=False)
