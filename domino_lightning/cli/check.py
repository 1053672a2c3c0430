"""domino check."""

from __future__ import annotations

import argparse
from typing import Any

from domino_lightning.cli.console import flag_layers, make_console, reached
from domino_lightning.config.document import Config, load_config
from domino_lightning.runner.pipeline import make_plan, validate
from domino_lightning.stages import stage_class
from domino_lightning.store.store import Store


def check(arguments: argparse.Namespace) -> int:
    """Validate configuration and data without loading a model or writing anything.

    What lies on a hub that does not answer is named and left out; the rest is checked as far as it goes.
    """
    from domino_lightning.data.source import overlap

    config = load_config(arguments.experiment, arguments.overrides, flag_layers(arguments))
    validate(config)
    missing: list[str] = []
    plan = reached(missing, lambda: make_plan(config)) or []
    prepare: Any = stage_class("prepare").from_config(config)
    splits = reached(missing, lambda: prepare.splits(execute=False)) or {}
    if splits:
        reached(missing, lambda: _check_texts(config, splits))
        _check_answers(config, splits)
    console = make_console()
    checked = "configuration and data are" if splits else "the configuration is"
    console.print(f"{arguments.experiment}: {checked} valid.", highlight=False, soft_wrap=True)
    for text in missing:
        console.print(f"  not checked: {text}", highlight=False, soft_wrap=True)
    if splits:
        counts = overlap(splits)
        listed = (f"{name}: {counts['rows'][name]} rows of {counts['groups'][name]} groups" for name in splits)
        console.print(f"  {', '.join(listed)}")
    store = Store(config.document["root"])
    for planned in plan:
        state = "finished" if store.finished(planned.stage, planned.key.fingerprint) else "to run"
        console.print(f"  {planned.stage:<11} {planned.key.fingerprint}  {state}", highlight=False)
    return 0


def _check_answers(config: Config, splits: dict[str, Any]) -> None:
    """Say which records `finetune` would leave out, where running them adds no answers."""
    finetune: Any = stage_class("finetune").from_config(config)
    if not finetune.domain.fills_answers:
        finetune.answered(splits)


def _check_texts(config: Config, splits: dict[str, Any]) -> None:
    """Encode every text that `tune` would read."""
    from domino_lightning.data.reference import encode_texts
    from domino_lightning.models.backbone import load_tokenizer

    settings = config.document["tune"]["data"]
    tokenizer = load_tokenizer(settings["tokenizer"])
    for name in ("reference", "heldout"):
        encode_texts(splits[name], tokenizer, settings["max_length"], settings["too_long"], f"split {name}")
