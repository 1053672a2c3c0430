"""`domino dashboard SWEEP`: the W&B workspace and report of a sweep as code, made of what its trials have logged."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.sweep.results import SweepRuns
from domino_lightning.tracking.wandb import STEP, axis_key, has_api_key
from domino_lightning.utils.jsonl import read_object, write_json

FOLDER = "dashboard"  # in the sweep's directory: workspace.json, report.json, and saved.json once they are on a server
NO_ENTITY = "entity"  # stands in the JSON where nobody is logged in
LOSSES, HEALTH, SAMPLES = "Loss terms", "Disentanglement", "Samples"


@dataclass(frozen=True)
class Keys:
    """What the trials of a sweep have logged, by what it is about; every list is sorted.

    Attributes:
        numeric: axes whose values are numbers.
    """

    axes: list[str]
    numeric: list[str]
    scores: list[str]
    losses: dict[str, list[str]]  # term → its keys on train and held-out data
    health: list[str]
    panels: dict[str, list[str]]  # a stage's section → the final numbers of the stages that share it


def keys_of(sweep: SweepRuns) -> Keys:
    """The keys of a sweep's trials as they are in the store; none before a stage has finished."""
    frame, logged = sweep.frame(), sweep.history()
    final = [str(name) for name in frame.columns if str(name).count("/") >= 2]
    history = sorted(set(logged["key"]))
    losses: dict[str, list[str]] = {}
    for key in history:
        stage, split, name = key.split("/", 2)
        if split in {"train", "heldout"}:
            losses.setdefault(f"{stage}: {name}", []).append(key)
    numeric = [
        axis["name"]
        for axis in sweep.record["axes"]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis["values"].values())
    ]
    panels: dict[str, list[str]] = {}
    for stage in STAGES:
        if title := stage_class(stage).panel:
            panels.setdefault(title, []).extend(key for key in final if key.startswith(f"{stage}/"))
    return Keys(
        axes=sweep.axes,
        numeric=numeric,
        scores=sorted(key for key in final if re.fullmatch(r"\w+/test/pass@\d+", key)),
        losses=losses,
        health=[key for key in history if key.split("/")[1] == "health"],
        panels={title: sorted(found) for title, found in panels.items()},
    )


def build_workspace(sweep: SweepRuns, tracking: Tracking, entity: str) -> Any:
    """The workspace: one section for each part of the question, over the sweep's trials grouped by arm.

    A trial's run has the curves of its stages, whichever sweep ran them, so a curve of an arm is the mean over its
    seeds, with their range as a band.
    """
    workspaces, _ = _library()
    from wandb_workspaces import expr

    sections = [
        workspaces.Section(name=name, panels=panels, is_open=place == 0)
        for place, (name, panels) in enumerate(_panels(keys_of(sweep)).items())
    ]
    settings = workspaces.RunsetSettings(
        filters=expr.And(expr.Metric("Group") == sweep.name, expr.Metric("JobType") == "trial"),
        groupby=[expr.Config("arm")],
        pinned_columns=["run:displayName", "summary:evaluate/test/pass@1"],
    )
    return workspaces.Workspace(
        entity=entity, project=tracking.project, name=sweep.name, sections=sections, runset_settings=settings
    )


def build_report(sweep: SweepRuns, tracking: Tracking, entity: str, online: bool) -> Any:
    """The report: the same panels with words between them."""
    _, reports = _library()
    place = {"entity": entity, "project": tracking.project} if online else {}  # looked up on the server where given

    by_arm = reports.Runset(
        name="trials",
        filters=f"Group == '{sweep.name}' and JobType == 'trial'",
        groupby=["config.arm"],
        **place,
    )
    blocks: list[Any] = [
        reports.TableOfContents(),
        reports.MarkdownBlock(
            f"{len(sweep.arms)} arms over {', '.join(sweep.axes) or 'no axis'}, baseline `{sweep.baseline}`. A line "
            "is the mean over an arm's seeds, its band their range; intervals, paired differences and corrected p "
            "values are in the report that `domino report` writes, which is among this project's artifacts."
        ),
    ]
    for name, panels in _panels(keys_of(sweep)).items():
        blocks += [reports.H2(name), reports.PanelGrid(runsets=[by_arm], panels=panels)]
    return reports.Report(
        entity=entity,
        project=tracking.project,
        title=f"Sweep {sweep.name}"[:128],
        description=f"Arms: {'; '.join(sweep.arms)}"[:400],
        blocks=blocks,
        width="fluid",
    )


def _panels(keys: Keys) -> dict[str, list[Any]]:
    """Section → panels; a section for which nothing has been logged is left out."""
    _, wr = _library()
    axes = {axis: wr.Config(axis_key(axis)) for axis in keys.axes}
    by_axis: list[Any] = []
    for score in keys.scores or ["evaluate/test/pass@1"]:
        name = score.rpartition("/")[2]
        for axis, config in axes.items():
            by_axis.append(
                wr.BarPlot(
                    title=f"{name} by {axis}",
                    metrics=[score],
                    groupby=config,
                    groupby_aggfunc="mean",
                    groupby_rangefunc="stderr",
                )
            )
        for axis in keys.numeric:
            by_axis.append(wr.ScatterPlot(title=f"{name} over {axis}", x=axes[axis], y=wr.SummaryMetric(score)))
    first = (keys.scores or ["evaluate/test/pass@1"])[0]
    if len(axes) > 1:
        columns = [wr.ParallelCoordinatesPlotColumn(config, display_name=axis) for axis, config in axes.items()]
        columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(first), display_name="pass@1"))
        by_axis.append(wr.ParallelCoordinatesPlot(title="All axes", columns=columns))
        by_axis.append(wr.ParameterImportancePlot(with_respect_to=first))
    sample_tables = [key for stage in STAGES if (key := stage_class(stage).samples_key)]
    tables = [wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=10)) for name in sample_tables]

    def curve(title: str, key: str) -> Any:
        """One line an arm over optimizer steps, seeds as a band; one key a panel, or lines would be arms times keys."""
        arm = wr.Config("arm")
        spread: Any = {"groupby": arm, "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        return wr.LinePlot(title=title, x=STEP, y=[key], title_x="optimizer step", **spread)

    sections = {
        "pass@k by axis": by_axis,
        LOSSES: [curve(f"{term}, {key.split('/')[1]}", key) for term, found in keys.losses.items() for key in found],
        HEALTH: [curve(key.rpartition("/")[2], key) for key in keys.health],
        SAMPLES: tables,
        **{
            title: [wr.BarPlot(title=key.partition("/")[2], metrics=[key]) for key in found]
            for title, found in keys.panels.items()
        },
    }
    return {name: panels for name, panels in sections.items() if panels}


def _library() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise UserError(
            "domino dashboard needs wandb-workspaces. Install it: pip install 'domino_lightning[dashboard]'."
        ) from None
    return workspaces, reports


@dataclass(frozen=True)
class Written:
    """Where a dashboard's JSON lies, and its addresses on the server; none where it is offline."""

    files: list[Path]
    urls: list[str]


def write_dashboard(sweep: SweepRuns, tracking: Tracking) -> Written:
    """Write the workspace and the report as JSON beside the sweep; with an API key, save them on the server too.

    The second save replaces the first. The mode `disabled` or `offline` of the sweep's tracking keeps off the
    network.

    Raises:
        UserError: wandb-workspaces is not installed.
        StageFailed: the server refused.
    """
    online = tracking.wandb == "online" and has_api_key()
    entity = tracking.entity or (_default_entity() if online else NO_ENTITY)
    workspace = build_workspace(sweep, tracking, entity)
    report = build_report(sweep, tracking, entity, online=False)
    folder = sweep.path / FOLDER
    folder.mkdir(exist_ok=True)
    files = [folder / "workspace.json", folder / "report.json"]
    for path, model in zip(files, (workspace, report), strict=True):
        write_json(path, json.loads(model._to_model().model_dump_json(by_alias=True, exclude_none=True)))
    if not online:
        return Written(files, [])
    return Written(files, _save(workspace, build_report(sweep, tracking, entity, online=True), folder / "saved.json"))


def _default_entity() -> str:
    import wandb

    try:
        return str(wandb.Api().default_entity)
    except wandb.Error as error:
        raise StageFailed(f"W&B: {error}. Nothing was saved; the same command tries again.") from None


def _save(workspace: Any, report: Any, marker: Path) -> list[str]:
    import wandb

    saved = read_object(marker) if marker.is_file() else {}
    if saved:
        workspace._internal_name, workspace._internal_id = saved["workspace"]
        report.id = saved["report"]
    try:
        workspace.save()
        report.save()
    except (wandb.Error, ValueError) as error:
        raise StageFailed(f"W&B: {error}. The JSON is in {marker.parent}; the same command tries again.") from None
    write_json(marker, {"workspace": [workspace._internal_name, workspace._internal_id], "report": report.id})
    return [str(workspace.url), str(report.url)]
