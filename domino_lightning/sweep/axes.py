"""The axes of a sweep file and how they combine: labels, zipped axes, conditions, exclusions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.layers import unknown_key
from domino_lightning.config.nodes import ClassNode
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import canonical_json

AXIS_KEYS = ("key", "values", "when")
Point = dict[str, str]  # axis name → label
Rule = dict[str, list[str]]  # axis name → labels


@dataclass(frozen=True)
class Axis:
    """What varies: a dotted key of the experiment and its values under labels.

    Attributes:
        name: short and unique in the sweep.
        key: dotted key of the experiment.
        values: label → value.
        when: earlier axes' labels at which this axis applies; empty: always.
        where: file and line.
    """

    name: str
    key: str
    values: Mapping[str, Any]
    when: Mapping[str, Sequence[str]] = field(default_factory=dict)
    where: str = ""

    def applies(self, point: Mapping[str, str]) -> bool:
        """Whether the axis varies at a point of the earlier axes."""
        return matches(self.when, point)


def read_axes(source: Config) -> tuple[Axis, ...]:
    """The axes of a sweep file in order.

    Raises:
        UserError: an axis without values or key, of a name or key that another has, or over a seed.
    """
    axes: dict[str, Axis] = {}
    for name, node in source.document["axes"].items():
        where = line_of(source, f"axes.{name}")
        if isinstance(node, list):
            axis = Axis(str(name).rpartition(".")[2], str(name), _labelled(node, f"{where}: axis '{name}'"), {}, where)
        elif isinstance(node, dict):
            axis = _long_axis(str(name), node, source, where, axes)
        else:
            raise UserError(
                f"{where}: axis '{name}': expected a list of values, or a mapping with key and values, got {node!r}."
            )
        if axis.name in axes:
            raise UserError(
                f"{where}: two axes are called '{axis.name}'. Give one a name: `{axis.name}_2: "
                f"{{key: {axis.key}, values: [...]}}`."
            )
        if axis.name == "seed" or axis.key in {"seed", "prepare.seed"}:
            raise UserError(
                f"{where}: axis '{axis.name}': seeds are given under `seeds`, and the split's own seed "
                "(prepare.seed) is never varied: test items would move between trials."
            )
        same = next((each for each in axes.values() if each.key == axis.key), None)
        if same:
            raise UserError(f"{where}: axes '{same.name}' and '{axis.name}' both set '{axis.key}'. Keep one.")
        axes[axis.name] = axis
    return tuple(axes.values())


def _long_axis(name: str, node: dict[str, Any], source: Config, where: str, earlier: Mapping[str, Axis]) -> Axis:
    for given in node:
        if given not in AXIS_KEYS:
            place = f"axes.{name}.{given}"
            raise UserError(unknown_key(line_of(source, place), place, AXIS_KEYS))
    key: Any = node.get("key")
    values: Any = node.get("values")
    if not isinstance(key, str) or not key:
        raise UserError(f"{where}: axis '{name}': 'key' names no key of the experiment (got {key!r}).")
    if "," in name or "=" in name or "." in name:
        raise UserError(f"{where}: axis '{name}': a name may not hold ',', '=' or '.'.")
    if not isinstance(values, (list, dict)):
        raise UserError(
            f"{where}: axis '{name}': 'values' must be a list, or a mapping of label to value; got {values!r}."
        )
    rule = read_rule(node.get("when") or {}, tuple(earlier.values()), f"{where}: axis '{name}': when (earlier axes)")
    return Axis(name, key, _labelled(values, f"{where}: axis '{name}'"), rule, where)


def _labelled(values: list[Any] | dict[Any, Any], where: str) -> dict[str, Any]:
    """Label → value; a list's values are their own labels."""
    if not values:
        raise UserError(f"{where}: has no values.")
    labelled: dict[str, Any] = {}
    for given, value in values.items() if isinstance(values, dict) else ((None, value) for value in values):
        if isinstance(given, bool):
            raise UserError(f"{where}: YAML reads a label as {given}. Put it in quotes, such as 'on' or 'off'.")
        label = label_of(value) if given is None else str(given)
        if not label or re.search(r"[,=\x00-\x1f]", label):
            raise UserError(
                f"{where}: {value!r} needs a label without ',' and '=': give `values` as a mapping of label to value."
            )
        if label in labelled:
            raise UserError(
                f"{where}: two values are called '{label}': give `values` as a mapping of different labels to values."
            )
        labelled[label] = value
    return labelled


def label_of(value: Any) -> str:
    """A value's own label: text as it is, numbers as Python writes them, a class node's class; else ''."""
    if isinstance(value, dict):
        node = ClassNode.read(value)
        return node.path.rpartition(".")[2] if node else ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, (str, int, float)) else ""


def read_rule(node: Any, axes: Sequence[Axis], where: str) -> Rule:
    """A mapping of axis names to a label or a list of labels.

    Raises:
        UserError: an unknown axis or label.
    """
    if not isinstance(node, dict):
        raise UserError(f"{where}: expected a mapping of axis names to labels, got {node!r}.")
    known = {axis.name: axis for axis in axes}
    rule: Rule = {}
    for name, labels in node.items():
        if name not in known:
            raise UserError(unknown_key(where, str(name), list(known)))
        rule[name] = [label_of(label) for label in (labels if isinstance(labels, list) else [labels])]
        for label in rule[name]:
            if label not in known[name].values:
                near = difflib.get_close_matches(label, known[name].values, n=1, cutoff=0.5)
                hint = f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(known[name].values)}."
                raise UserError(f"{where}: axis '{name}' has no value '{label}'. {hint}")
    return rule


def matches(rule: Mapping[str, Sequence[str]], point: Mapping[str, str]) -> bool:
    """Whether a point has one of the rule's labels on each of the rule's axes."""
    return all(point.get(name) in labels for name, labels in rule.items())


def read_zips(source: Config, axes: Sequence[Axis]) -> list[list[Axis]]:
    """The groups of axes that move together.

    Raises:
        UserError: an unknown axis, one in two groups, or axes of different lengths.
    """
    where, known = source.where("zip"), {axis.name: axis for axis in axes}
    groups: list[list[Axis]] = []
    for names in source.document["zip"]:
        if not isinstance(names, list) or len(names) < 2:
            raise UserError(f"{where}: key 'zip': expected lists of two or more axis names, got {names!r}.")
        for name in names:
            if name not in known:
                raise UserError(unknown_key(where, str(name), list(known)))
            if names.count(name) > 1 or any(axis.name == name for group in groups for axis in group):
                raise UserError(f"{where}: key 'zip': axis '{name}' is zipped twice.")
        group = [known[name] for name in names]
        sizes = {axis.name: len(axis.values) for axis in group}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise UserError(f"{where}: key 'zip': zipped axes need equally many values; {listed}.")
        if len({canonical_json(axis.when) for axis in group}) > 1:
            raise UserError(f"{where}: key 'zip': axes {', '.join(sizes)} must have the same `when`.")
        groups.append(group)
    return groups


def cross(axes: Sequence[Axis], zips: Sequence[Sequence[Axis]]) -> list[Point]:
    """The crossing of all axes in order; a zipped group varies where its first axis stands."""
    points: list[Point] = [{}]
    for axis in axes:
        group = next((group for group in zips if axis in group), (axis,))
        if axis is not group[0]:
            continue
        moves = [
            dict(zip([each.name for each in group], labels, strict=True))
            for labels in zip(*(each.values for each in group), strict=True)
        ]
        points = [{**point, **move} for point in points for move in (moves if axis.applies(point) else [{}])]
    order = [axis.name for axis in axes]
    return [{name: point[name] for name in order if name in point} for point in points]


def without_excluded(points: list[Point], source: Config, axes: Sequence[Axis]) -> list[Point]:
    """The points that no `exclude` rule matches.

    Raises:
        UserError: a rule that matches nothing, or rules that leave nothing.
    """
    where = source.where("exclude")
    for number, node in enumerate(source.document["exclude"], start=1):
        rule = read_rule(node, axes, f"{where}: exclude, rule {number}")
        if not rule or not any(matches(rule, point) for point in points):
            raise UserError(f"{where}: exclude, rule {number} ({node!r}) leaves out no trial. Remove or correct it.")
        points = [point for point in points if not matches(rule, point)]
    if not points:
        raise UserError(f"{where}: key 'exclude' leaves no trial.")
    return points


def line_of(source: Config, key: str) -> str:
    """File and line of a key whose last part may itself hold dots."""
    for layer in reversed(source.layers):
        if key in layer.lines:
            return layer.where(key)
    return source.where(key)
