"""`domino sweep`: run or continue, and what its flags do instead."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.cli.console import make_console
from domino_lightning.cli.sweep_control import cancel, detach, show_logs
from domino_lightning.cli.sweep_display import Display, Plans, failures, stage_table, trial_status, trial_table
from domino_lightning.config.document import Config, compose
from domino_lightning.config.nodes import ClassNode
from domino_lightning.config.types import evaluate_types
from domino_lightning.errors import Busy, StageFailed, UserError
from domino_lightning.store.locks import LOCK, held, is_held
from domino_lightning.store.store import Store
from domino_lightning.sweep.budget import check_budgets
from domino_lightning.sweep.events import EVENTS, SweepState, fold, read_events
from domino_lightning.sweep.exchange import Importable, check_import, export_results, import_results, settled
from domino_lightning.sweep.graph import Graph, make_graph
from domino_lightning.sweep.launchers.base import Detached, Launcher
from domino_lightning.sweep.launchers.cluster.mailbox import AGENTS, Mailbox
from domino_lightning.sweep.launchers.in_process import InProcessLauncher
from domino_lightning.sweep.records import TRIALS, write_expansion
from domino_lightning.sweep.results import open_sweep
from domino_lightning.sweep.scheduler import CANCEL, Scheduler
from domino_lightning.sweep.spec import Sweep, load_sweep
from domino_lightning.sweep.validation import validate, validate_apart
from domino_lightning.utils.contract import check_attributes
from domino_lightning.utils.jsonl import read_object

if TYPE_CHECKING:
    from rich.console import Console


def sweep(arguments: argparse.Namespace) -> int:
    """Run the subcommand and give its exit code: 1 if a trial failed."""
    console = make_console()
    if arguments.status:
        return status(_folder(arguments.sweep, arguments.overrides), console)
    if arguments.export:
        return export(_folder(arguments.sweep, arguments.overrides), arguments.export, console)
    if arguments.smoke and arguments.import_:
        raise UserError("sweep: --import takes verdicts of the sweep as it stands, and --smoke changes it. Leave one.")
    if arguments.logs:
        return show_logs(_folder(arguments.sweep, arguments.overrides), arguments.logs)
    loaded = load_sweep(arguments.sweep, arguments.overrides)
    budgets = check_budgets(loaded)
    if arguments.smoke:
        validate(loaded)  # as it stands, before it is made small
        loaded = small(loaded)
    graph = make_graph(loaded)
    taken = check_import(loaded, graph, arguments.import_) if arguments.import_ else None
    named = any(re.match(r"launcher[.=]", text) for text in arguments.overrides)
    launcher = InProcessLauncher() if arguments.smoke and not named else make_launcher(loaded)
    if arguments.cancel:
        return cancel(loaded.folder, launcher, console)
    if arguments.detach:
        return detach(loaded.folder, console)
    if arguments.dry_run:
        if not arguments.smoke:
            look_ahead(loaded, graph, console)
        dry_run(loaded, graph, budgets, launcher, console)
        if taken:
            console.print(f"import: {len(taken.trials)} trials of {arguments.import_}{_strange(taken)}", soft_wrap=True)
        return 0
    return run(loaded, graph, launcher, arguments.retry_failed, console, taken, validated=arguments.smoke)


def export(folder: Path, target: Path, console: Console) -> int:
    """Write the results of the finished trials; 1 where one of them is damaged and left out."""
    done = export_results(open_sweep(folder), target)
    console.print(f"{done.trials} trials exported to {done.folder}", highlight=False, soft_wrap=True)
    for text in done.left_out:
        console.print(f"not exported: {text}", highlight=False, soft_wrap=True)
    return int(bool(done.left_out))


def _strange(taken: Importable) -> str:
    """How many results are of trials that the sweep does not have."""
    if not taken.strange:
        return ""
    return f"; {len(taken.strange)} are of trials that this sweep does not have, the first: {taken.strange[0]}"


def small(sweep: Sweep) -> Sweep:
    """The sweep as `--smoke` runs it: every trial made small, as `domino run --smoke` does, in a store of its own."""
    from domino_lightning.runner.smoke import smoke_layer

    folder = sweep.root / "smoke"
    trials = []
    for trial in sweep.trials:
        config = compose([*trial.config.layers, smoke_layer(trial.config, folder)])
        trials.append(replace(trial, config=config))
    return replace(sweep, trials=tuple(trials))


def make_launcher(sweep: Sweep) -> Launcher:
    """The launcher that the sweep names.

    Raises:
        UserError: it names no `Launcher`, or gives it arguments that it does not take.
    """
    from jsonargparse import ArgumentParser

    from domino_lightning.config.sections import parse_section

    written = sweep.source.document["launcher"]
    where = f"{sweep.source.where('launcher')}: key 'launcher'"
    node = ClassNode.read(written)
    if node is None:
        raise UserError(f"{where}: {written!r} names no class. Give launcher.class_path.")
    cls = node.load(Launcher, where)
    section = "launcher.init_args"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(evaluate_types(cls), None)
    parsed = parse_section(parser, section, Config({section: node.init_args}, sweep.source.layers))
    launcher = cls(**vars(parser.instantiate(parsed)))
    check_attributes(launcher)
    return launcher


def look_ahead(sweep: Sweep, graph: Graph, console: Console) -> None:
    """Check every arm as `domino check` does one experiment, and say what it notes.

    Raises:
        UserError: what a trial would end with.
    """
    console.print(f"looking at settings and data of {_trials(sweep)}", highlight=False)
    for text in [*validate_apart(sweep), *graph.twins(sweep)]:
        console.print(f"  note: {text}", highlight=False, soft_wrap=True)


def dry_run(sweep: Sweep, graph: Graph, budgets: Mapping[str, str], launcher: Launcher, console: Console) -> None:
    """List the trials and count the distinct stages, finished and to run."""
    store = Store(sweep.root)
    state = fold(read_events(sweep.folder / EVENTS), graph.nodes, settled(graph.plans, store), running=False)
    console.print(f"{sweep.name} · {sweep.path}", highlight=False, soft_wrap=True)
    console.print(trial_table(graph.plans, state, {}))
    console.print(stage_table(state))
    counts = ", ".join(f"{count} {stage}" for stage, count in graph.counts().items())
    whole = sum(map(len, graph.plans.values()))
    console.print(f"{_trials(sweep)}: {counts}; {len(graph.nodes)} stages instead of {whole}", highlight=False)
    matched = "; ".join(f"{stage}: {text}" for stage, text in budgets.items())
    console.print(f"budget: {matched or 'not compared'}, in every arm" if matched else "budget: not compared")
    console.print(f"baseline: {sweep.baseline} · slots: {launcher.slots}", highlight=False, soft_wrap=True)


def _trials(sweep: Sweep) -> str:
    return f"{len(sweep.trials)} trials ({len(sweep.arms)} arms × {len(sweep.seeds)} seeds)"


def run(
    sweep: Sweep,
    graph: Graph,
    launcher: Launcher,
    retry_failed: bool,
    console: Console,
    taken: Importable | None = None,
    validated: bool = False,
) -> int:
    """Run or continue the sweep, after taking over what was run elsewhere.

    Raises:
        UserError: bad input, or another process is running the sweep.
        StageFailed: the record cannot be written.
    """
    store = Store(sweep.root)
    due = [key for key in graph.nodes if not store.finished(*key)]
    if due and not validated:
        look_ahead(sweep, graph, console)
    store.create(sweep.folder, store.runs(sweep.name), *(store.path(*key) for key in due))
    with _held(sweep.folder):
        (sweep.folder / CANCEL).unlink(missing_ok=True)
        try:
            write_expansion(sweep, graph)
            if taken:
                count = import_results(taken, graph, store)
                console.print(f"{count} trials imported{_strange(taken)}", highlight=False, soft_wrap=True)
            for damage in filter(None, (store.resized(*key) for key in graph.nodes)):  # of what counts as finished
                console.print(damage, highlight=False, soft_wrap=True)
            with Display(console) as display, _terminable():
                scheduler = Scheduler(sweep, graph, launcher, retry_failed, display)
                console.print(foresight(sweep), highlight=False, soft_wrap=True)
                before = scheduler.failed()
                if before:
                    what = f"{before} stages failed in an earlier run and are not tried again"
                    console.print(f"{what}; --retry-failed does.", highlight=False)
                fine = scheduler.run()
        except OSError as error:
            raise StageFailed(
                f"{sweep.folder}: {error.strerror or error}. Everything was stopped, and nothing that had finished "
                "is lost. Mend it, for example by freeing space, and give the same command again."
            ) from None
    _show(graph.plans, scheduler.progress.state, store, sweep.folder, console)
    open_sweep(sweep.folder).log_trials()  # a W&B run of each that has finished and has none
    return 0 if fine else 1


def foresight(sweep: Sweep) -> str:
    """What the sweep's finished trials say of the seeds it takes, in a line, or why they say nothing."""
    from domino_lightning.evaluation.power import TooFewSeeds
    from domino_lightning.reporting.sweep.arms import read_sweep
    from domino_lightning.reporting.sweep.needed import needed

    try:
        found = needed(read_sweep(open_sweep(sweep.folder)), times=(1,))
    except TooFewSeeds:
        return (
            f"power: not known before two seeds of the baseline and of another arm have finished; this sweep has "
            f"{len(sweep.seeds)} an arm (domino power)"
        )
    except UserError as error:  # no reason not to run the sweep
        return f"power: not known: {error}"
    return f"power: {found.short}; this sweep has {len(sweep.seeds)} ({found.pilot})"


def status(folder: Path, console: Console) -> int:
    """Rebuild the table from the event log and the store.

    Raises:
        UserError: the folder holds no sweep.
    """
    expansion = read_object(folder / TRIALS)
    plans = {trial["trial"]: list(trial["stages"].items()) for trial in expansion["trials"]}
    stages = dict.fromkeys(key for plan in plans.values() for key in plan)
    store = Store(folder.parent.parent)
    running = is_held(folder / LOCK)
    agents = Mailbox(folder).running() if (folder / AGENTS).is_dir() else {}
    state = fold(read_events(folder / EVENTS), stages, settled(plans, store), running, agents)
    launched = state.launched
    if agents:
        pilots = ", ".join(sorted(set(agents.values())))
        console.print(f"{len(agents)} stages on a cluster, in {pilots}", highlight=False, soft_wrap=True)
    if running:
        console.print(f"running since {launched.get('time')}, process {launched.get('pid')} on {launched.get('host')}")
    else:
        closed = state.closed.get("status", "interrupted" if launched else "never launched")
        console.print(f"not running; its last run: {closed} {state.closed.get('time', '')}", highlight=False)
    _show(plans, state, store, folder, console)
    return int(any(trial_status(plan, state) == "failed" for plan in plans.values()))


def _show(plans: Plans, state: SweepState, store: Store, folder: Path, console: Console) -> None:
    console.print(trial_table(plans, state, _scores(plans, store)))
    console.print(stage_table(state))
    for line in failures(plans, state, folder):
        console.print(line, highlight=False, soft_wrap=True)
    over = [trial_status(plan, state) for plan in plans.values()]
    console.print(
        f"{over.count('finished')} of {len(over)} trials finished, {over.count('failed')} failed · {store.root}",
        highlight=False,
        soft_wrap=True,
    )


def _scores(plans: Plans, store: Store) -> dict[str, str]:
    scores = {}
    for trial, plan in plans.items():
        for key in plan:
            path = store.path(*key) / "metrics.json"
            if key[0] == "evaluate" and store.finished(*key) and path.is_file():
                try:
                    values = read_object(path)
                except UserError:
                    scores[trial] = "damaged"
                    continue
                name = "evaluate/test/pass@1"
                if name in values:
                    scores[trial] = f"{values[name]:.1%}"
                if f"{name}_low" in values:
                    scores[trial] += f" [{values[f'{name}_low']:.1%}, {values[f'{name}_high']:.1%}]"
    return scores


def _folder(path: Path, overrides: Sequence[str]) -> Path:
    """The folder of a sweep, given itself or the sweep's file."""
    folder = path if (path / TRIALS).is_file() else load_sweep(path, overrides).folder
    if not (folder / TRIALS).is_file():
        raise UserError(f"{folder}: this sweep has not been launched. Run `domino sweep {path}` first.")
    return folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the sweep, so that the same one is not run twice at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(held(folder / LOCK, "this sweep"))
        except Busy:
            launched = fold(read_events(folder / EVENTS), (), lambda *_: False, running=True).launched
            raise UserError(
                f"{folder}: process {launched.get('pid')} on {launched.get('host')} is running this sweep since "
                f"{launched.get('time')}. `domino sweep ... --status` shows how far it is."
            ) from None
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the sweep as Ctrl-C does, but that what a cluster runs goes on."""

    def interrupt(number: int, frame: Any) -> None:
        raise Detached

    main = threading.current_thread() is threading.main_thread()
    names = [signal.SIGTERM, signal.SIGHUP] if main else []
    old = {name: signal.signal(name, interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in old.items():
            signal.signal(name, handler)
