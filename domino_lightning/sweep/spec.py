"""A sweep file, read and expanded into trials, each with the configuration it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config, Merged, checked, compose
from domino_lightning.config.layers import Layer, default_layer, override_layer, read_layer
from domino_lightning.errors import UserError
from domino_lightning.stages import STAGES
from domino_lightning.store.store import safe_name
from domino_lightning.sweep.axes import (
    Axis,
    Point,
    cross,
    line_of,
    matches,
    read_axes,
    read_rule,
    read_zips,
    without_excluded,
)
from domino_lightning.utils.jsonl import Record, canonical_json
from domino_lightning.utils.project import enter

BUDGETS = ("steps", "tokens", "axis")
DEFAULTS: dict[str, Any] = {
    "name": "",
    "experiment": "???",
    "set": {},
    "axes": {},
    "zip": [],
    "exclude": [],
    "seeds": [0],
    "baseline": {},
    "budget": "steps",
    "until": "evaluate",
    "launcher": {"class_path": "domino_lightning.sweep.LocalLauncher"},
}


@dataclass(frozen=True)
class Trial:
    """One arm with one seed.

    Attributes:
        arm: the axes' labels, `loss=infonce,weight=0.3`; `default` where no axis applies.
        axes: axis name → label, of the axes that apply.
        values: axis name → value.
        overrides: the same as dotted overrides of the experiment, for people.
        config: the resolved configuration.
    """

    arm: str
    axes: Mapping[str, str]
    values: Mapping[str, Any]
    seed: int
    overrides: tuple[str, ...]
    config: Config

    @property
    def name(self) -> str:
        """`<arm>,seed=<seed>`."""
        return f"{self.arm},seed={self.seed}"

    def record(self) -> Record:
        """What `trial.json` and `trials.json` say about the trial's place in the sweep."""
        place = {"arm": self.arm, "axes": dict(self.axes), "values": dict(self.values), "seed": self.seed}
        return {"trial": self.name, **place}


@dataclass(frozen=True)
class Sweep:
    """A sweep file with its command-line overrides, expanded.

    Attributes:
        source: the sweep's own keys, merged and unresolved, and where each came from.
        baseline: the arm that the others are compared with.
        until: the last stage that trials need.
    """

    name: str
    path: Path
    experiment: Path
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    baseline: str
    budget: str
    until: str
    overrides: tuple[str, ...]
    trials: tuple[Trial, ...]
    source: Config

    @property
    def root(self) -> Path:
        """The store that the trials share."""
        return Path(self.trials[0].config.document["root"])

    @property
    def folder(self) -> Path:
        """`<root>/sweeps/<name>`."""
        return self.root / "sweeps" / safe_name(self.name)

    @property
    def arms(self) -> list[str]:
        """The arms in order."""
        return list(dict.fromkeys(trial.arm for trial in self.trials))

    def record(self) -> Record:
        """The sweep's part of `trials.json`."""
        names = ("name", "key", "values", "when")
        return {
            "sweep": self.name,
            "file": str(self.path),
            "experiment": str(self.experiment),
            "overrides": list(self.overrides),
            "budget": self.budget,
            "until": self.until,
            "seeds": list(self.seeds),
            "baseline": self.baseline,
            "axes": [{name: getattr(axis, name) for name in names} for axis in self.axes],
        }


def load_sweep(path: str | Path, overrides: Sequence[str] = (), extra: Sequence[Layer] = ()) -> Sweep:
    """Read a sweep file and expand it.

    Args:
        path: the sweep's YAML.
        overrides: `dotted.key=value` of the sweep file's own keys, or of the experiment for all trials.
        extra: layers over every trial.

    Raises:
        UserError: a bad key, axis, rule or value, with file, line and remedy.
    """
    path = Path(path)
    own, ours = _own_overrides(overrides)
    layer = read_layer(path, str(path), "Name a sweep YAML, such as one in experiments/sweeps/.")
    if "experiment" not in layer.tree and any(stage in layer.tree for stage in STAGES):
        raise UserError(f"{path}: is an experiment, not a sweep. Run it with `domino run {path}`.")
    source = compose([Layer("the sweep defaults", DEFAULTS), layer, *map(override_layer, own)], resolve=False)
    tree = source.document
    for key, kind in (("set", dict), ("axes", dict), ("zip", list), ("exclude", list), ("baseline", dict)):
        if not isinstance(tree[key], kind):
            what = "a mapping" if kind is dict else "a list"
            raise UserError(f"{source.where(key)}: key '{key}': expected {what}, got {tree[key]!r}.")
    name = tree["name"] or path.stem
    if not isinstance(name, str):
        raise UserError(f"{source.where('name')}: key 'name': expected text, got {name!r}.")
    if tree["budget"] not in BUDGETS:
        listed = ", ".join(BUDGETS)
        raise UserError(f"{source.where('budget')}: key 'budget': expected one of {listed}, got {tree['budget']!r}.")
    if tree["until"] not in STAGES:
        listed = ", ".join(STAGES)
        raise UserError(f"{source.where('until')}: key 'until': expected one of {listed}, got {tree['until']!r}.")
    axes, seeds = read_axes(source), _seeds(source)
    _check_overrides(ours, axes)
    points = cross(axes, read_zips(source, axes))
    points = without_excluded(points, source, axes)
    experiment = path.parent / str(tree["experiment"])
    enter([experiment.parent, path.parent])
    wanted = f"It is the sweep's key 'experiment' ({source.where('experiment')}), relative to the sweep's file."
    base = Merged.of([default_layer(), read_layer(experiment, str(experiment), wanted), *_set_layers(source)])
    last = [*map(override_layer, ours), Layer("the sweep's name", {"name": name}), *extra]
    trials = tuple(_trial(point, seed, axes, base, last) for point in points for seed in seeds)
    sweep = Sweep(
        name=name,
        path=path,
        experiment=experiment,
        axes=axes,
        seeds=seeds,
        baseline=trials[0].arm,
        budget=tree["budget"],
        until=tree["until"],
        overrides=tuple(overrides),
        trials=trials,
        source=source,
    )
    _check_trials(sweep)
    return replace(sweep, baseline=_baseline(source, axes, sweep))


def _own_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the sweep's own keys, and those of the experiment."""
    own = [text for text in overrides if re.split(r"[.=\[]", text, maxsplit=1)[0] in DEFAULTS]
    return own, [text for text in overrides if text not in own]


def _seeds(source: Config) -> tuple[int, ...]:
    seeds = source.document["seeds"]
    fine = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not fine or len(set(seeds)) < len(seeds):
        raise UserError(
            f"{source.where('seeds')}: key 'seeds': expected a list of different whole numbers, got {seeds!r}."
        )
    return tuple(seeds)


def _baseline(source: Config, axes: Sequence[Axis], sweep: Sweep) -> str:
    node, where = source.document["baseline"], source.where("baseline")
    if not node:
        return sweep.arms[0]
    rule = read_rule(node, axes, f"{where}: baseline")
    arms = list(dict.fromkeys(trial.arm for trial in sweep.trials if matches(rule, trial.axes)))
    if len(arms) != 1:
        found = f"these arms: {'; '.join(arms)}" if arms else "no arm"
        raise UserError(f"{where}: key 'baseline' must pick one arm, and {node!r} picks {found}.")
    return arms[0]


def _check_overrides(overrides: Sequence[str], axes: Sequence[Axis]) -> None:
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key == "seed":
            raise UserError(f"override '{text}': the seeds of a sweep are set by seeds=[...].")
        for axis in axes:
            if f"{axis.key}.".startswith(f"{key}."):
                raise UserError(
                    f"override '{text}': the sweep's axis '{axis.name}' varies '{axis.key}', which this would undo. "
                    f"Leave one of them out ({axis.where})."
                )


def _set_layers(source: Config) -> Iterator[Layer]:
    for key, value in source.document["set"].items():
        where = line_of(source, f"set.{key}")
        if key in {"name", "seed"}:
            remedy = "`name` beside `experiment`" if key == "name" else "`seeds`"
            raise UserError(f"{where}: key 'set.{key}': a sweep has {remedy} for that.")
        yield Layer(where, _nested(str(key), value))


def _trial(point: Point, seed: int, axes: Sequence[Axis], base: Merged, last: Sequence[Layer]) -> Trial:
    chosen = [axis for axis in axes if axis.name in point]
    values = {axis.name: axis.values[point[axis.name]] for axis in chosen}
    arm = ",".join(f"{name}={label}" for name, label in point.items()) or "default"
    layers = [
        Layer(f"{axis.where} ({axis.name}={point[axis.name]})", _nested(axis.key, values[axis.name])) for axis in chosen
    ]
    config = checked(base.under([*layers, Layer("the sweep's seeds", {"seed": seed}), *last]).config())
    overrides = [f"{axis.key}={_plain(values[axis.name])}" for axis in chosen]
    return Trial(arm, point, values, seed, (*overrides, f"seed={seed}"), config)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _check_trials(sweep: Sweep) -> None:
    """All trials share one store, and no seed reaches the splits."""
    prepared: dict[str, dict[str, Any]] = {}
    for trial in sweep.trials:
        if trial.config.document["root"] != sweep.trials[0].config.document["root"]:
            raise UserError(f"{sweep.path}: all trials need one store, and an axis varies 'root'.")
        section: dict[str, Any] = trial.config.document["prepare"]
        first = prepared.setdefault(trial.arm, section)
        for key, value in first.items():
            if section.get(key) != value:
                raise UserError(
                    f"{trial.config.where(f'prepare.{key}')}: key 'prepare.{key}' depends on `seed`, so seeds would "
                    "move test items between trials. Give it a value of its own."
                )
