"""Curves of a sweep: metrics over numeric axes with bands, and learning curves of the arms."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from markupsafe import Markup

from domino_lightning.errors import UserError
from domino_lightning.evaluation.statistics import Estimate
from domino_lightning.reporting.charts import Band, Line, bands, curves
from domino_lightning.reporting.sweep.arms import Arm, SweepData
from domino_lightning.reporting.sweep.estimates import ArmScore
from domino_lightning.reporting.sweep.tables import Column
from domino_lightning.tracking.metrics_file import read_metrics, series

LINES = 6  # of one chart: as many as there are colors


def numeric_axes(data: SweepData) -> list[str]:
    """Axes on which at least two different numbers occur and nothing but numbers."""
    found = []
    for axis in data.axes:
        values = {arm.axes[axis] for arm in data.arms if axis in arm.axes}
        if len(values) > 1 and all(isinstance(value, (int, float)) for value in values):
            found.append(axis)
    return found


def axis_charts(data: SweepData, scores: Sequence[ArmScore | None], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For every numeric axis, pass@1 and the held-out NLLs over it; arms that differ elsewhere are lines."""
    shares = [Estimate(*(100 * part for part in score.estimate)) if score else None for score in scores]
    metrics = [("pass@1", "pass@1, %", shares), *((each.title, each.title, each.cells) for each in columns)]
    charts = []
    for axis in numeric_axes(data):
        rest = [name for name in data.axes if name != axis]
        for title, unit, cells in metrics:
            groups: dict[str, list[tuple[float, float, float, float]]] = {}
            for arm, cell in zip(data.arms, cells, strict=True):
                if axis in arm.axes and cell is not None:
                    groups.setdefault(_rest(arm, rest), []).append((float(arm.axes[axis]), *cell))
            lines = [Band(label, points, index) for index, (label, points) in enumerate(groups.items())]
            lines = [line for line in lines if len(line.points) > 1]
            svg = bands(lines[:LINES], axis, unit, f"{title} over {axis}")
            if svg:
                left_out = max(0, len(lines) - LINES)
                charts.append(
                    {
                        "title": f"{title} over {axis}",
                        "svg": Markup(svg),
                        "lines": lines[:LINES] if len(lines) > 1 else [],
                        "left_out": left_out,
                        "banded": any(not isnan(point[2]) for line in lines for point in line.points),
                    }
                )
    return charts


def _rest(arm: Arm, axes: Sequence[str]) -> str:
    return ", ".join(f"{axis}={arm.axes[axis]}" for axis in axes if axis in arm.axes) or "all"


def learning_charts(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Held-out NLL of tuning and of the coder by step, the mean over seeds, one line for each distinct arm."""
    charts = []
    for stage, title in (("tune", "Domain tokens"), ("finetune", "Coder")):
        key = f"{stage}/heldout/nll"
        lines: dict[tuple[str, ...], tuple[list[str], list[tuple[int, float]]]] = {}
        for arm in arms:
            identity = tuple(sorted({trial.stages[stage].fingerprint for trial in arm.begun}))
            if identity in lines:
                lines[identity][0].append(arm.label)
            elif points := _mean_curve(arm, stage, key):
                lines[identity] = ([arm.label], points)
        shown = list(lines.values())[:LINES]
        drawn = [Line(_shared(labels), points, index, dots=True) for index, (labels, points) in enumerate(shown)]
        svg = curves(drawn, "held-out NLL, nats/token", f"{title}, held-out NLL of every arm")
        if svg:
            left_out = len(lines) - len(shown)
            charts.append({"title": title, "svg": Markup(svg), "lines": drawn, "mark": None, "left_out": left_out})
    return charts


def _shared(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def _mean_curve(arm: Arm, stage: str, key: str) -> list[tuple[int, float]]:
    """Steps that all seeds have, with the mean of their values."""
    runs: dict[str, dict[int, float]] = {}
    for trial in arm.begun:
        place = trial.stages[stage]
        if place.exists and place.fingerprint not in runs:
            try:
                runs[place.fingerprint] = dict(series(read_metrics(place.path), key))
            except UserError:
                continue
    curves_ = [run for run in runs.values() if run]
    steps = sorted(set.intersection(*(set(run) for run in curves_))) if curves_ else []
    return [(step, sum(run[step] for run in curves_) / len(curves_)) for step in steps]
