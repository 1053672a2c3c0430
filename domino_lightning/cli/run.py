"""`domino run`, and the subcommands that run one stage."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_lightning.cli.console import flag_layers, make_console
from domino_lightning.config.document import Config, load_config
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import make_plan, run_plan, validate
from domino_lightning.runner.planned import PlannedStage, StageOutcome
from domino_lightning.stages import stage_class
from domino_lightning.store.store import Store, trial_name
from domino_lightning.utils.progress import duration

if TYPE_CHECKING:
    from rich.console import Console


def run(arguments: argparse.Namespace) -> int:
    """Run an experiment's stages in order."""
    return _run(arguments, arguments.until)


def run_stage(arguments: argparse.Namespace) -> int:
    """Run one stage, which the subcommand names."""
    return _run(arguments, arguments.command, only=arguments.command)


def _run(arguments: argparse.Namespace, until: str | None, only: str | None = None) -> int:
    started = time.monotonic()
    config, trial = _experiment(arguments)
    plan = make_plan(config, until)
    if only is not None:
        _require_inputs(config, plan, only)
    unknown = [stage for stage in arguments.force if stage not in {planned.stage for planned in plan}]
    if unknown:
        raise UserError(f"--force {unknown[0]}: this run has no such stage; it has {', '.join(s.stage for s in plan)}.")
    console = make_console()
    console.print(config.document["name"], style="bold", end="")
    console.print(f" · {trial}", highlight=False, soft_wrap=True)
    if not arguments.smoke:
        _look_ahead(config, plan, arguments.force, console)
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


def _look_ahead(config: Config, plan: Sequence[PlannedStage], force: Sequence[str], console: Console) -> None:
    """Say what `domino check` says of stages that are about to run, and end with what they would end with."""
    store = Store(config.document["root"])
    if all(store.finished(*planned.id) and planned.stage not in force for planned in plan):
        return
    from domino_lightning.planning.ahead import Ahead

    ahead = Ahead(config, plan[-1].stage)
    for text in [*ahead.notes(), *(f"not checked: {each}" for each in ahead.missing)]:
        console.print(f"  note: {text}", highlight=False, soft_wrap=True)


def _experiment(arguments: argparse.Namespace) -> tuple[Config, str]:
    extra = flag_layers(arguments)
    config = load_config(arguments.experiment, arguments.overrides, extra)
    trial = arguments.trial or trial_name(arguments.overrides)
    if arguments.smoke:
        from domino_lightning.runner.smoke import smoke_layer

        validate(config)  # as it stands, before it is made small
        folder = Path(config.document["root"]) / "smoke"
        config = load_config(arguments.experiment, arguments.overrides, [*extra, smoke_layer(config, folder)])
    return config, trial


def _require_inputs(config: Config, plan: Sequence[PlannedStage], only: str) -> None:
    store = Store(config.document["root"])
    for planned in plan:
        if planned.stage != only and not store.finished(planned.stage, planned.key.fingerprint):
            raise UserError(
                f"domino {only}: stage {planned.stage} ({planned.key.fingerprint}) of this configuration has not "
                f"finished. Run it first with `domino {planned.stage}`, or all with `domino run --until {only}`."
            )


def _summary(console: Console, config: Config, trial: str, outcomes: Sequence[StageOutcome], seconds: float) -> None:
    from rich.table import Table

    ran = [outcome.planned.stage for outcome in outcomes if outcome.ran]
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "", "time", "result", "directory"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        cls = stage_class(outcome.planned.stage)
        table.add_row(
            outcome.planned.stage,
            "ran" if outcome.ran else "kept",
            duration(outcome.wall_s) if outcome.ran else "",
            cls.headline(cls.metrics(outcome.directory)),
            str(outcome.directory),
        )
    console.print(table)
    what = f"ran {', '.join(ran)}" if ran else "nothing to do: every stage had finished before"
    folder = Store(config.document["root"]).trial(config.document["name"], trial)
    console.print(f"{what} · {duration(seconds)} · {folder}", highlight=False, soft_wrap=True)
