"""A sweep's W&B workspace and report as code: panels for what was logged, JSON when offline, saved over when online."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.reporting import dashboard
from domino_lightning.reporting.dashboard import keys_of, write_dashboard
from domino_lightning.sweep.results import SweepRuns, open_sweep
from tests.conftest import finished_offline_runs
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import LOSSES, FakeSweep, losses_sweep

OFFLINE = Tracking("offline", "tests", group="losses")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepRuns:
    return open_sweep(losses_sweep(FakeStore(tmp_path / "store"), seeds=(0, 1)).write())


def sections(sweep: SweepRuns) -> dict[str, list[dict[str, Any]]]:
    """Section → panels of the workspace's JSON."""
    workspace, _ = write_dashboard(sweep, OFFLINE).files
    bank = json.loads(workspace.read_text())["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in bank}


def metrics(panels: list[dict[str, Any]]) -> set[str]:
    return {name for panel in panels for name in panel["config"].get("metrics", [])}


def test_keys_are_those_that_the_trials_have_logged(sweep: SweepRuns) -> None:
    keys = keys_of(sweep)
    assert (keys.axes, keys.numeric) == (["loss", "weight"], ["weight"])
    assert keys.scores == ["evaluate/test/pass@1"]
    assert keys.losses["tune: loss"] == ["tune/train/loss"]
    assert "tune/heldout/nll" in keys.losses["tune: nll"]
    assert "curate/accepted/rows" in keys.panels["Funnel"] and "answer/pairs/rows" in keys.panels["Corpus"]


def test_the_workspace_has_a_section_for_each_part_of_the_question(sweep: SweepRuns) -> None:
    found = sections(sweep)
    assert list(found) == ["pass@k by axis", "Loss terms", "Samples", "Funnel", "Corpus"]  # no health was logged
    assert metrics(found["pass@k by axis"]) == {"evaluate/test/pass@1"}
    assert {"tune/train/loss", "finetune/train/loss"} <= metrics(found["Loss terms"])
    assert "curate/accepted/rows" in metrics(found["Funnel"])
    assert "evaluate/test/samples" in json.dumps(found["Samples"])


def test_scores_are_grouped_by_each_axis_and_scattered_over_numeric_ones(sweep: SweepRuns) -> None:
    panels = sections(sweep)["pass@k by axis"]
    bars = {panel["config"]["groupBy"] for panel in panels if panel["viewType"] == "Bar Chart"}
    assert bars == {"axes/loss.value", "axes/weight.value"}
    (scatter,) = [panel["config"] for panel in panels if panel["viewType"] == "Scatter Plot"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("config:axes/weight.value", "summary:evaluate/test/pass@1")


def test_health_metrics_have_a_section_of_their_own(sweep: SweepRuns) -> None:
    run = sweep.runs()[0]
    with open(run.stage("tune") / "metrics.csv", "a") as file:
        file.write("10,tune/health/own_gain,0.5\n")
    assert metrics(sections(sweep)["Disentanglement"]) == {"tune/health/own_gain"}


def test_the_report_draws_trials_and_stages_of_the_sweep_alone(sweep: SweepRuns) -> None:
    _, report = write_dashboard(sweep, OFFLINE).files
    content = json.loads(report.read_text())
    assert content["displayName"] == "Sweep losses"
    grids = [block for block in content["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 5
    names = [grid["metadata"]["runSets"][0]["name"] for grid in grids]
    assert names == ["trials"] * 5  # a trial's run has the curves and samples of its stages
    for grid in grids:
        filters = json.dumps(grid["metadata"]["runSets"][0]["filters"])
        assert '"losses"' in filters and "jobType" in filters


def test_a_sweep_of_which_nothing_has_run_has_a_dashboard(tmp_path: Path) -> None:
    fake = FakeSweep(FakeStore(tmp_path / "store"), {"loss": LOSSES}, "loss=likelihood")
    fake.trial({"loss": "likelihood"}, 0)
    found = sections(open_sweep(fake.write()))
    assert list(found) == ["pass@k by axis", "Samples"]


def test_the_command_writes_json_and_says_how_to_save_it(sweep: SweepRuns, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", str(sweep.path)]) == 0
    out = capsys.readouterr().out
    assert str(sweep.path / "dashboard" / "workspace.json") in out and "tracking.wandb=online" in out


def test_without_the_library_the_extra_is_named(sweep: SweepRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(UserError, match=r"domino_lightning\[dashboard\]"):
        write_dashboard(sweep, OFFLINE)


def test_a_second_save_replaces_the_first(sweep: SweepRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    saved: list[tuple[str, str]] = []

    def save_workspace(self: Any) -> None:
        saved.append(("workspace", self._internal_id))
        self._internal_name, self._internal_id = "nw-abc-v", "w1"

    def save_report(self: Any) -> None:
        saved.append(("report", self.id))
        self.id = "r1"

    def build_report(*arguments: Any, online: bool) -> Any:
        return original(*arguments, online=False)  # or it would look its project up

    original = dashboard.build_report
    monkeypatch.setattr(dashboard, "build_report", build_report)
    monkeypatch.setattr(dashboard, "has_api_key", lambda: True)
    monkeypatch.setattr(workspaces.Workspace, "save", save_workspace)
    monkeypatch.setattr(reports.Report, "save", save_report)
    monkeypatch.setattr(workspaces.Workspace, "url", "https://example.org/w")
    monkeypatch.setattr(reports.Report, "url", "https://example.org/r")
    online = Tracking("online", "tests", entity="team", group="losses")
    for _ in range(2):
        assert write_dashboard(sweep, online).urls == ["https://example.org/w", "https://example.org/r"]
    assert saved == [("workspace", ""), ("report", ""), ("workspace", "w1"), ("report", "r1")]


def test_curves_are_one_line_an_arm_over_optimizer_steps_with_seeds_as_a_band(sweep: SweepRuns) -> None:
    workspace, report = (json.loads(path.read_text()) for path in write_dashboard(sweep, OFFLINE).files)
    runs = workspace["spec"]["section"]["runSets"][0]
    assert "trial" in json.dumps(runs["filters"]) and "JobType" not in json.dumps(runs["grouping"])
    assert [key["name"] for key in runs["grouping"]] == ["arm.value"]
    for panels in (sections(sweep)["Loss terms"], _panels_of(report, "Loss terms")):
        for config in (panel["config"] for panel in panels):
            assert len(config["metrics"]) == 1
            assert config["xAxis"] == "trainer/global_step"
            assert (config["groupBy"], config["groupAgg"], config["groupArea"]) == ("arm.value", "mean", "minmax")


def _panels_of(report: dict[str, Any], heading: str) -> list[dict[str, Any]]:
    """Panels of the grid below a heading of the report's JSON."""
    blocks = report["spec"]["blocks"]
    place = next(n for n, block in enumerate(blocks) if heading in json.dumps(block.get("children", "")))
    panels: list[dict[str, Any]] = blocks[place + 1]["metadata"]["panelBankSectionConfig"]["panels"]
    return panels


def test_a_trial_s_run_has_the_curves_and_samples_of_its_stages(sweep: SweepRuns) -> None:
    run = sweep.runs()[0]
    (run.path / "config.yaml").write_text((run.path / "config.yaml").read_text().replace("disabled", "offline"))
    assert sweep.log_trials() == 1
    (logged,) = finished_offline_runs(sweep.root, 1)
    expected = [run.metrics["tune/heldout/nll"] + 0.4 * n / 3 for n in (3, 2, 1, 0)]
    assert logged.history["tune/heldout/nll"] == pytest.approx(expected)
    steps = logged.history["trainer/global_step"]
    assert steps == sorted(set(steps)) and {0, 10, 20, 30} <= set(steps)  # each once, of both training stages
    assert logged.step_metrics["tune/*"] == logged.step_metrics["finetune/*"] == "trainer/global_step"
    assert "evaluate/test/samples/path" in logged.history


def test_every_finished_trial_gets_one_run_with_its_axes(sweep: SweepRuns) -> None:
    for run in sweep.runs():
        config = (run.path / "config.yaml").read_text().replace("disabled", "offline")
        (run.path / "config.yaml").write_text(config)
    finished = [trial for trial in sweep.runs() if trial.trial["status"] == "finished"]
    assert len(finished) == 9
    assert sweep.log_trials() == 10
    assert sweep.log_trials() == 0
    root = sweep.path.parent.parent
    logged = {run.config["trial"]: run for run in finished_offline_runs(root, 10)}
    best = logged["loss=infonce,weight=0.3,seed=1"]
    assert (best.job_type, best.group, best.exit_code) == ("trial", "losses", 0)
    assert (best.config["axes/loss"], best.config["axes/weight"], best.config["seed"]) == ("infonce", 0.3, 1)
    assert best.summary["evaluate/test/pass@1"] == 0.75
    assert best.config["stage_runs"]["tune"]
    assert best.tags == ["sweep:losses", "arm:loss=infonce,weight=0.3"]
    failed = logged.pop("loss=infonce,weight=1.0,seed=1")
    assert failed.exit_code == 1 and "out of memory" in failed.config["error"] and failed.name.endswith("(failed)")
    assert all(run.exit_code == 0 for run in logged.values())
    assert logged["loss=likelihood,seed=0"].config.keys() & {"axes/weight"} == set()


def test_stages_that_an_earlier_sweep_ran_get_the_tags_of_a_later_one(sweep: SweepRuns) -> None:
    from domino_lightning.tracking.tags import open_tags
    from domino_lightning.tracking.wandb import start_run

    run = sweep.runs()[0]
    (run.path / "config.yaml").write_text((run.path / "config.yaml").read_text().replace("disabled", "offline"))
    digest = run.trial["stages"]["tune"]
    start_run(Tracking("offline", "tests", group="earlier", root=str(sweep.root)), digest, "t", "tune", {}).finish()
    sweep.log_trials()
    (path,) = open_tags(sweep.root)
    assert path.stem == digest
    assert json.loads(path.read_text())["tags"] == ["sweep:losses", "arm:loss=likelihood"]
    assert json.loads(path.read_text())["sent"] == []
