"""domino check."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from domino_lightning.cli.console import flag_layers, make_console
from domino_lightning.config.annotated import annotated
from domino_lightning.config.document import load_config
from domino_lightning.planning.ahead import Ahead
from domino_lightning.runner.pipeline import make_plan, refuse_machines
from domino_lightning.store.store import Store


def check(arguments: argparse.Namespace) -> int:
    """Validate configuration and data without loading a model or writing anything.

    With --print_config, print the resolved document instead. What lies on a hub that does not answer is named and
    left out; the rest is checked as far as it goes.
    """
    from domino_lightning.data.source import overlap

    config = load_config(arguments.experiment, arguments.overrides, flag_layers(arguments))
    if arguments.print_config:
        sys.stdout.write(annotated(config))
        return 0
    ahead = Ahead(config)
    plan = ahead.reached(lambda: make_plan(config)) or []
    splits, notes = ahead.splits, ahead.notes()
    prepare: Any = ahead.stages["prepare"]
    store = Store(config.document["root"])
    due = [each for each in plan if not store.finished(*each.id)]
    store.check(store.runs(str(config.document["name"])), *(store.path(*each.id) for each in due))
    refuse_machines(config, due)
    console = make_console()
    checked = "configuration and data are" if splits else "the configuration is"
    console.print(f"{arguments.experiment}: {checked} valid.", highlight=False, soft_wrap=True)
    if (own := type(prepare.domain)).__module__.split(".")[0] != "domino_lightning":
        told = f"domino_lightning.testing.check_domain({own.__name__}(), rows) exercises the domain on a few rows"
        notes = [*notes, f"{told}: round trip, keys, prompts, grading (docs/write_a_domain.md)."]
    for text in notes:
        console.print(f"  note: {text}", highlight=False, soft_wrap=True)
    for text in ahead.missing:
        console.print(f"  not checked: {text}", highlight=False, soft_wrap=True)
    if splits:
        counts = overlap(splits)
        listed = (f"{name}: {counts['rows'][name]} rows of {counts['groups'][name]} groups" for name in splits)
        console.print(f"  {', '.join(listed)}")
    for planned in plan:
        state = "finished" if store.finished(planned.stage, planned.key.fingerprint) else "to run"
        console.print(f"  {planned.stage:<11} {planned.key.fingerprint}  {state}", highlight=False)
    return 0
