"""Matched budgets: arms are compared at equal optimizer steps or equal tokens, checked before anything runs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, NamedTuple

from domino_lightning.config.layers import ABSENT, lookup
from domino_lightning.data.samples import sample_indices
from domino_lightning.errors import Unreachable, UserError
from domino_lightning.runner.pipeline import needed_stages
from domino_lightning.stages import stage_class
from domino_lightning.stages.epochs import Epochs
from domino_lightning.sweep.callbacks import accumulation, end_of_training
from domino_lightning.sweep.spec import Sweep, Trial
from domino_lightning.utils.jsonl import canonical_json, sha256_text

TRAINING = ("tune", "finetune")
# What corpora are matched by, each with the stage that keeps to it.
LIMITS = {"finetune.data.size": "finetune", "synthesize.stop.tokens": "synthesize"}
# Besides max_steps, what can end training or change which batches it sees.
_LIMITS = ("max_epochs", "min_epochs", "limit_train_batches", "accumulate_grad_batches")


Rows = dict[str, list[int] | None]  # section of `prepare` → the sample of every reference; None: out of reach


class Budget(NamedTuple):
    """What is compared, a number or what determines it, and how to say it."""

    amount: int | str
    text: str


def check_budgets(sweep: Sweep) -> dict[str, str]:
    """What the arms have in common, by training stage, as text.

    Raises:
        UserError: arms that differ, with their numbers; training that ends by the clock, or by a callback.
    """
    if sweep.budget == "axis":
        return {}
    check_limits(sweep)
    common: dict[str, str] = {}
    rows: Rows = {}
    for stage in TRAINING:
        for seed in sweep.seeds:  # what epochs of synthetic data give differs from seed to seed
            trials = [trial for trial in sweep.trials if trial.seed == seed and trains(trial, stage, sweep.until)]
            arms = {trial.arm: _budget(trial, stage, sweep.budget, rows) for trial in trials}
            if len({budget.amount for budget in arms.values()}) > 1:
                raise UserError(_unmatched(sweep, stage, arms))
            for budget in arms.values():
                common.setdefault(stage, budget.text)
    return common


def check_limits(sweep: Sweep) -> None:
    """Arms that differ in something else than a corpus's limits must have the same ones.

    The limits are `finetune.data.size`, of coders that train, and `synthesize.stop.tokens`, of arms that synthesize.
    Where an axis varies them, arms are compared at each of its values.

    Raises:
        UserError: arms that differ, with their limits.
    """
    varied = {axis.name for axis in sweep.axes if any(f"{limit}.".startswith(f"{axis.key}.") for limit in LIMITS)}
    for limit, stage in LIMITS.items():
        groups: dict[str, dict[str, Any]] = {}  # labels on the varied axes → arm → limit
        for trial in sweep.trials:
            needed = stage in needed_stages(trial.config, sweep.until)
            if needed and trial.config.document[stage].get("source") != "none":
                place = canonical_json({name: label for name, label in trial.axes.items() if name in varied})
                value = lookup(trial.config.document, limit)
                groups.setdefault(place, {})[trial.arm] = None if value is ABSENT else value
        # An arm that the axes do not reach is compared with those that have its limit, and there must be some.
        beside = groups.pop("{}", {}) if len(groups) > 1 else {}
        if not set(beside.values()) <= {value for arms in groups.values() for value in arms.values()}:
            groups = {"": beside | dict(ChainMap(*groups.values()))}
        for arms in groups.values():
            if len(set(arms.values())) > 1:
                raise UserError(_unlimited(sweep, limit, arms))


def _unlimited(sweep: Sweep, limit: str, arms: Mapping[str, Any]) -> str:
    values: dict[str, list[str]] = {}
    for arm, value in arms.items():
        values.setdefault("none" if value is None else str(value), []).append(arm)
    listed = "; ".join(f"{_few(names)}: {value}" for value, names in values.items())
    return (
        f"{sweep.path}: arms differ in {limit}: {listed}. Give it to all of them, under `set` or as an axis, or "
        "declare `budget: axis`."
    )


def _unmatched(sweep: Sweep, stage: str, arms: Mapping[str, Budget]) -> str:
    groups: dict[str, list[str]] = {}
    for arm, budget in arms.items():
        groups.setdefault(budget.text, []).append(arm)
    listed = "; ".join(f"{_few(names)}: {text}" for text, names in groups.items())
    other = "tokens" if sweep.budget == "steps" else "steps"
    return (
        f"{sweep.path}: arms differ in their {stage} budget ({sweep.budget}): {listed}. Give them equal budgets with "
        f"{stage}.trainer.max_steps, compare by `budget: {other}`, or declare `budget: axis` if the budget is what "
        "the sweep varies."
    )


def trains(trial: Trial, stage: str, until: str) -> bool:
    """Whether a trial has the stage and takes optimizer steps in it."""
    return stage in needed_stages(trial.config, until) and trial.config.document[stage].get("source") != "none"


def _budget(trial: Trial, stage: str, kind: str, known: Rows) -> Budget:
    """The budget of a trial's stage, in texts as far as its data is there: batches may be less than full."""
    section = trial.config.document[stage]
    trainer: Mapping[str, Any] = section["trainer"]
    data: Mapping[str, Any] = section["data"]
    if trainer.get("max_time") is not None:
        raise UserError(
            f"{trial.config.where(f'{stage}.trainer.max_time')}: key '{stage}.trainer.max_time' ends training by the "
            "clock, so budgets cannot be matched. Use max_steps, or declare `budget: axis`."
        )
    if (ends := end_of_training(trainer)) is not None:
        key = f"{stage}.trainer.callbacks"
        raise UserError(
            f"{trial.config.where(key)}: key '{key}': {ends}, so budgets cannot be matched. Leave it out of all arms "
            "and use max_steps, or declare `budget: axis`."
        )
    rows = data["batch_size"] * (trainer.get("accumulate_grad_batches") or 1)  # over all ranks
    steps = trainer.get("max_steps")
    if type(steps) is int and steps >= 0 and trainer.get("max_epochs") in (None, -1):
        if kind == "steps":
            return Budget(steps, f"{steps} optimizer steps")
        owners = _owners(trial, stage, known)
        if scheduled := accumulation(trainer):  # texts of a step depend on its epoch: equal where all of it is
            read = None if owners is None else len(owners)
            same = canonical_json([steps, rows, dict(data), read, trainer.get("limit_train_batches"), scheduled])
            return Budget(same, f"{steps} steps of batches as a callback accumulates them {sha256_text(same)[:6]}")
        fed = Epochs.of(trainer, data["batch_size"], section["seed"], owners).texts
        if fed is not None and fed != steps * rows:  # an epoch ends before a step is full, or has fewer rows than one
            tokens = fed * data["max_length"]
            return Budget(tokens, f"{tokens} tokens ({steps} steps, {fed} texts × {data['max_length']})")
        tokens = steps * rows * data["max_length"]
        return Budget(tokens, f"{tokens} tokens ({steps} steps × {rows} texts × {data['max_length']})")
    # By epochs: as many steps as the data gives, so equal if data, batches and limits are.
    earlier = [name for name in needed_stages(trial.config, stage) if name != stage]
    reads = {name: stage_class(name).identity(trial.config.document[name]) for name in earlier}
    limits = {key: trainer.get(key) for key in (*_LIMITS, "max_steps")} | {"scheduled": accumulation(trainer)}
    same = canonical_json({"data": dict(data), "rows": rows, "limits": limits, "reads": reads})
    return Budget(same, f"{trainer.get('max_epochs')} epochs of data and batches {sha256_text(same)[:6]}")


def _owners(trial: Trial, stage: str, known: Rows) -> list[int] | None:
    """The sample of every row that the stage trains on; None where the data is yet to be made."""
    if stage != "tune":  # pairs have no samples; how many there will be is known where `size` says it
        size = trial.config.document[stage]["data"].get("size")
        return list(range(size)) if isinstance(size, int) else None
    section = canonical_json(trial.config.document["prepare"])
    if section not in known:
        prepare: Any = stage_class("prepare").from_config(trial.config)
        try:
            known[section] = sample_indices(prepare.splits(execute=False)["reference"])
        except Unreachable:
            known[section] = None
    return known[section]


def _few(arms: list[str]) -> str:
    shown = ", ".join(arms[:3])
    return shown if len(arms) <= 3 else f"{shown} and {len(arms) - 3} more"
