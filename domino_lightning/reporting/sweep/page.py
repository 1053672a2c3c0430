"""`domino report SWEEP`: one page that answers what the sweep asked, `results.csv` by trial, `arms.csv` by arm."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from markupsafe import Markup

from domino_lightning.errors import UserError
from domino_lightning.reporting.charts import Effect, Interval, forest, intervals
from domino_lightning.reporting.corpus_map import Projection
from domino_lightning.reporting.html import csv_text, render_page, write_report_files
from domino_lightning.reporting.reader import Untold
from domino_lightning.reporting.shared import config_differences, result_row, rows_of, test_set_warning, versions_of
from domino_lightning.reporting.sweep.answer import answer
from domino_lightning.reporting.sweep.arms import Arm, SweepData, read_sweep
from domino_lightning.reporting.sweep.corpora import maps
from domino_lightning.reporting.sweep.correlations import FEWEST, correlations
from domino_lightning.reporting.sweep.curves import axis_charts, learning_charts
from domino_lightning.reporting.sweep.estimates import ArmScore, Difference, arm_scores, differences
from domino_lightning.reporting.sweep.needed import HEADINGS, needed
from domino_lightning.reporting.sweep.side_by_side import corpus_texts, disputed
from domino_lightning.reporting.sweep.tables import LOSSES, all_metrics, columns, corpora, costs, failures, measures
from domino_lightning.stages import STAGES
from domino_lightning.sweep.results import SweepRuns, axis_column


def write_sweep_report(
    sweep: SweepRuns,
    output: Path,
    baseline: str | None = None,
    refresh_s: int | None = None,
    projection: Projection = "pca",
) -> list[Path]:
    """Write `report.html`, `results.csv` (a row a trial) and `arms.csv` (a row an arm) into `output`.

    The same sweep in the same state gives the same bytes. Trials that failed or have not finished are shown as
    such, and numbers say on what they rest.

    Args:
        sweep: from `open_sweep`.
        output: a directory, created where it is missing; older reports in it are replaced.
        baseline: the arm to compare with, in place of the sweep file's.
        refresh_s: seconds after which a browser loads the page again; None: it never does.
        projection: of the maps of corpora.

    Returns:
        The paths written.

    Raises:
        UserError: an unknown baseline, a directory that cannot be written to or holds such files of others, or UMAP
            where it is not installed.
    """
    data = read_sweep(sweep, baseline)
    page = output / "report.html"
    tables = {"arms.csv": csv_text(_arm_rows(data)), "results.csv": csv_text(_trial_rows(data))}
    html = render_page("sweep.html.j2", _context(data, projection) | {"refresh_s": refresh_s})
    write_report_files(page, html, tables)
    return [page, *(output / name for name in tables)]


def pass_ks(data: SweepData) -> list[int]:
    """Every k for which a trial has pass@k, 1 first."""
    names = {key for run in data.trials for key in run.metrics if key.startswith("evaluate/test/pass@")}
    return sorted({int(tail) for key in names if (tail := key.rpartition("@")[2]).isdigit()} | {1})


def _trial_rows(data: SweepData) -> list[dict[str, Any]]:
    rows = []
    for arm in data.arms:
        for run in arm.seeds:
            head = {"sweep": data.name, "arm": arm.name, "trial": run.name, "seed": run.seed, "status": run.status}
            row = {**head, **{axis_column(axis): arm.axes.get(axis) for axis in data.axes}}
            if run.trial:
                row |= {key: value for key, value in result_row(run.trial).items() if key not in row}
                row |= run.metrics
            rows.append(row)
    return rows


def _arm_rows(data: SweepData) -> list[dict[str, Any]]:
    """pass@k as shares in [0, 1], differences as shares too; an empty cell is something that is not known."""
    rows: list[dict[str, Any]] = [
        {"arm": arm.name, "baseline": arm.baseline, **{axis_column(axis): arm.axes.get(axis) for axis in data.axes}}
        for arm in data.arms
    ]
    for k in pass_ks(data):
        scores, compared = arm_scores(data.arms, k), differences(data.arms, data.baseline, k)
        for row, score, one in zip(rows, scores, compared, strict=True):
            name = f"pass@{k}"
            if score:
                mean, low, high = score.estimate
                row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
                row |= {f"{name}_seeds": score.seeds, "problems": score.problems, "groups": score.groups}
            if one and not one.problem:
                low, high = one.estimate.low, one.estimate.high
                row |= {f"{name}_difference": one.estimate.value, f"{name}_difference_low": low}
                row |= {f"{name}_difference_high": high, f"{name}_p": one.p, f"{name}_p_holm": one.adjusted}
                row |= {f"{name}_test": one.test}
    for column in columns(data.arms, LOSSES):
        for row, cell in zip(rows, column.cells, strict=True):
            if cell:
                key = column.key
                row |= {key: cell.value, f"{key}_low": cell.low, f"{key}_high": cell.high}
    for row, cost in zip(rows, costs(data.arms)[0], strict=True):
        row["wall_s"] = cost.total or None
    return [{key: None if _nan(value) else value for key, value in row.items()} for row in rows]


def _nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _context(data: SweepData, projection: Projection) -> dict[str, Any]:
    arms, trials = data.arms, [run.trial for run in data.trials if run.trial]
    scores, compared = arm_scores(arms), differences(arms, data.baseline)
    losses = columns(arms, LOSSES)
    head, sentences = answer(arms, scores, compared)
    steps, funnels = corpora(arms)
    spent, distinct_s, alone_s = costs(arms)
    untold = Untold()
    texts = corpus_texts(arms, untold)
    shown, disagreements = disputed(arms, untold=untold)
    ks = pass_ks(data)
    others = [(k, arm_scores(arms, k)) for k in ks if k > 1]
    labels = [run.name for run in data.trials if run.trial]
    states: dict[str, int] = {}
    for arm in arms:
        for state, number in arm.status_counts().items():
            states[state] = states.get(state, 0) + number
    stages = [row for name in STAGES for row in rows_of(name, trials, labels)]
    return {
        "data": data,
        "head": head,
        "sentences": sentences,
        "states": states,
        "trial_count": sum(states.values()),
        "test_warning": test_set_warning(trials),
        "rows": list(zip(arms, scores, compared, strict=True)),
        "others": others,
        "losses": losses,
        "forest": _forests(data, compared),
        "intervals": _intervals(arms, scores),
        "axis_charts": axis_charts(data, scores, losses),
        "learning": learning_charts(arms),
        "steps": steps,
        "funnels": funnels,
        "measures": measures(funnels),
        "correlations": correlations(arms, ks),
        "ks": ks,
        "fewest": FEWEST,
        **maps(arms, projection),
        "texts": texts,
        "untold_rows": untold.sentences,
        "disputed": shown,
        "disagreements": disagreements,
        "costs": spent,
        **_needed(data),
        "cost_stages": [name for name in STAGES if any(cost.stages[name] is not None for cost in spent)],
        "distinct_s": distinct_s,
        "alone_s": alone_s,
        "failures": failures(data),
        "metrics": all_metrics(arms),
        "differences": config_differences([arm.begun[0] for arm in arms if arm.begun]),
        "difference_labels": [arm.label for arm in arms if arm.begun],
        "sweep_text": _text(data.path / "sweep.yaml"),
        "versions": versions_of(trials),
        "last_finished": max((row["finished_at"] for row in stages if row["finished_at"]), default=""),
    }


def _needed(data: SweepData) -> dict[str, Any]:
    """What it takes to see three points, by this sweep's own trials; why there is no answer, where there is none."""
    try:
        return {"needed": needed(data), "needed_headings": HEADINGS, "needed_not": ""}
    except UserError as error:
        return {"needed": None, "needed_headings": HEADINGS, "needed_not": str(error).removeprefix(f"{data.path}: ")}


def _forests(data: SweepData, compared: Sequence[Difference | None]) -> list[Markup]:
    """The chart of differences for wide and for narrow screens; none where nothing can be compared."""
    rows = [
        Effect(arm.label, 100 * one.estimate.value, 100 * one.estimate.low, 100 * one.estimate.high, one.significant)
        for arm, one in zip(data.arms, compared, strict=True)
        if one and not one.problem
    ]
    title = f"Difference of pass@1 from {data.baseline.label} with 95% intervals"
    drawn = [forest(rows, width, data.baseline.label, title) for width in (760, 380)]
    return [Markup(svg) for svg in drawn if svg]


def _intervals(arms: Sequence[Arm], scores: Sequence[ArmScore | None]) -> list[Markup]:
    rows = [
        Interval(arm.label, score.estimate.value, _known(score.estimate.low), _known(score.estimate.high), arm.baseline)
        for arm, score in zip(arms, scores, strict=True)
        if score
    ]
    drawn = [intervals(rows, width, f"pass@1 of every arm, {width}") for width in (760, 380)]
    return [Markup(svg) for svg in drawn if svg]


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
