"""`domino plan`: a table of what each stage will cost, and what is left to do."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from domino_lightning.cli.console import flag_layers, make_console
from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.planning.ahead import Ahead
from domino_lightning.planning.cost import LEFT_FREE, Cost
from domino_lightning.planning.costs import Costs
from domino_lightning.planning.machine import Machine
from domino_lightning.runner.pipeline import make_plan, needed_stages
from domino_lightning.store.store import Store
from domino_lightning.utils.progress import duration

if TYPE_CHECKING:
    from rich.console import Console


def plan(arguments: argparse.Namespace) -> int:
    """Estimate every stage; what lies on a hub that does not answer is named and left out."""
    for flag in ("tflops", "bandwidth_gbs"):
        value = getattr(arguments, flag)
        if value is not None and not value > 0:
            raise UserError(f"--{flag.replace('_', '-')} {value:g} must be more than 0.")
    limit = None if arguments.gpu_memory is None else parsed_bytes(arguments.gpu_memory, "--gpu-memory")
    config = load_config(arguments.experiment, arguments.overrides, flag_layers(arguments))
    ahead = Ahead(config)
    made = ahead.reached(lambda: make_plan(config))
    store = Store(config.document["root"])
    done = {planned.stage for planned in made or () if store.finished(*planned.id)}
    notes = ahead.notes()
    costs = Costs(config, ahead.splits, gpu=limit is not None) if ahead.splits else None
    found = {name: ahead.reached(partial(costs, name)) if costs else None for name in needed_stages(config)}
    machine = Machine(arguments.tflops, arguments.bandwidth_gbs, limit)
    console = make_console()
    _print(found, done, machine, console)
    for text in notes:
        console.print(f"note: {text}", highlight=False, soft_wrap=True)
    for text in ahead.missing:
        console.print(f"not estimated: {text}", highlight=False, soft_wrap=True)
    return 0


def _print(found: Mapping[str, Cost | None], done: set[str], machine: Machine, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("stage", "tokens", "FLOPs", "memory", "time", "from"):
        table.add_column(name, overflow="fold", justify="left" if name in {"stage", "from"} else "right")
    left, seconds = [], 0.0
    for stage, cost in found.items():
        if cost is None:
            table.add_row(stage, "?", "?", "?", "?", "not estimated")
            continue
        took = machine.seconds(cost)
        if stage not in done:
            left.append(cost)
            seconds += took
        time = "finished" if stage in done else about(took)
        what = cost.what + (f", about {cost.launches} kernel launches a step" if cost.launches else "")
        table.add_row(stage, short(cost.tokens), short(cost.flops), size(cost.memory), time, what)
    console.print(table)
    if not any(found.values()):
        return
    if memory := machine.memory():
        console.print(f"on a GPU with {size(memory)}, of which {LEFT_FREE:.0%} are left free:", highlight=False)
        for stage, cost in found.items():
            if cost is not None and cost.memory:
                console.print(f"  {stage:<11} {size(cost.memory)} {cost.room(memory)}", highlight=False, soft_wrap=True)
    tokens, flops = (sum(getattr(cost, name) for cost in left) for name in ("tokens", "flops"))
    peak = max((cost.memory for cost in left), default=0.0)
    dtypes = sorted({cost.dtype for cost in left if cost.flops})
    rates = ", ".join(f"{short(machine.flops(dtype))}FLOP/s in {dtype}" for dtype in dtypes)
    console.print(
        f"to run: {short(tokens) or 0} tokens, {short(flops) or 0} FLOPs, {size(peak) or 0} at the peak, about "
        f"{about(seconds)}" + (f" at {rates} of matrix products" if rates else ""),
        highlight=False,
        soft_wrap=True,
    )


def parsed_bytes(text: str, flag: str) -> float:
    """Bytes of a size like 80GB, 24 GB or 79.6GiB.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GB|GiB|MB|MiB)\s*", text)
    if found is None or not float(found[1]):
        raise UserError(f"{flag} '{text}' is no size. Give a number with GB, GiB, MB or MiB, such as 80GB.")
    return float(found[1]) * {"GB": 1e9, "GiB": 2.0**30, "MB": 1e6, "MiB": 2.0**20}[found[2]]


def short(value: float) -> str:
    """Three digits and a letter: 1.23 M; nothing for 0."""
    if not value:
        return ""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes in MB or GB; nothing for 0."""
    if not value:
        return ""
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def about(seconds: float) -> str:
    """An estimated duration, in two digits."""
    return duration(float(f"{seconds:.2g}"))
