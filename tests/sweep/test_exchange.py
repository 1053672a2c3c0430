"""Results that are exported, committed and imported: what counts as finished, what is refused; no processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.cli.sweep import foresight
from domino_lightning.errors import UserError
from domino_lightning.reporting import write_sweep_report
from domino_lightning.reporting.sweep.arms import read_sweep
from domino_lightning.store.store import Store
from domino_lightning.sweep import Sweep
from domino_lightning.sweep.exchange import check_import, export_results, import_results, settled
from domino_lightning.sweep.graph import make_graph
from domino_lightning.sweep.records import write_expansion
from domino_lightning.sweep.results import open_sweep
from domino_lightning.utils.jsonl import read_json, write_json
from tests.sweep.conftest import LOSS, Load
from tests.sweep.test_scheduler import FakeLauncher, run

TREE = {"axes": {"loss": LOSS}, "seeds": [0, 1]}


def files_of(stage: str, seed: int) -> dict[str, str]:
    """What a finished stage of a trial would hold."""
    if stage == "tune":
        return {"metrics.csv": f"step,key,value\n1,tune/heldout/nll,{1.5 + seed}\n"}
    if stage == "evaluate":
        rows = [
            {"id": str(n), "group": f"g{n}", "verdicts": [{"passed": n % 3 <= seed, "status": "x"}]} for n in range(6)
        ]
        return {
            "metrics.json": json.dumps({"evaluate/test/pass@1": (2 + 2 * seed) / 6}),
            "verdicts.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "generations.jsonl": "",
        }
    return {}


class Writing(FakeLauncher):
    """Writes stages whole, as a store has them."""

    def poll(self, seconds: float) -> list[Any]:
        for task in self.running[:1]:
            key = task.planned.key
            folder = task.store.path(*task.planned.id)
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files_of(key.stage, task.config.document["seed"]).items():
                (folder / name).write_text(text)
        found = super().poll(seconds)
        for report in found:
            report.task.store.finish(report.task.planned.key, 1, report.task.planned.section, 2.0)
        return found


@pytest.fixture
def exported(load: Load, tmp_path: Path) -> tuple[Sweep, Path]:
    """A sweep whose results lie in `results` and whose store is gone."""
    sweep = load(TREE)
    write_expansion(sweep, make_graph(sweep))
    assert run(sweep, Writing())
    done = export_results(open_sweep(sweep.folder), tmp_path / "results")
    assert (done.trials, done.left_out) == (4, [])
    shutil.rmtree(sweep.root)
    return sweep, tmp_path / "results"


def taken(sweep: Sweep, source: Path) -> int:
    graph = make_graph(sweep)
    return import_results(check_import(sweep, graph, source), graph, Store(sweep.root))


def edit(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})


def test_a_trial_is_three_small_files_and_the_same_bytes_every_time(exported: tuple[Sweep, Path]) -> None:
    sweep, source = exported
    folder = source / "mine" / "loss=infonce,seed=1"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "trial.json", "verdicts.jsonl"]
    assert read_json(folder / "metrics.json")["tune/heldout/nll"] == 2.5
    record = read_json(folder / "trial.json")
    assert record["overrides"] and not any(text.startswith("root=") for text in record["overrides"])
    edit(folder / "trial.json", versions={**record["versions"], "torch": "another machine's"})
    before = {path: path.read_bytes() for path in source.rglob("*.json*")}
    taken(sweep, source)
    write_expansion(sweep, make_graph(sweep))
    assert run(sweep, FakeLauncher())
    export_results(open_sweep(sweep.folder), source)  # of what has been imported
    after = {path: path.read_bytes() for path in source.rglob("*.json*")}
    assert after == before


def test_imported_trials_are_finished_and_nothing_runs(exported: tuple[Sweep, Path]) -> None:
    sweep, source = exported
    assert taken(sweep, source) == 4
    launcher = FakeLauncher()
    assert run(sweep, launcher)
    assert launcher.started == []
    trial = read_json(sweep.root / "runs/mine/loss=infonce,seed=1/trial.json")
    assert trial["status"] == "finished"
    assert taken(sweep, source) == 0


def test_what_another_trial_needs_is_run(exported: tuple[Sweep, Path]) -> None:
    sweep, source = exported
    shutil.rmtree(source / "mine" / "loss=infonce,seed=1")
    assert taken(sweep, source) == 3
    launcher, graph = FakeLauncher(), make_graph(sweep)
    assert run(sweep, launcher)
    assert sorted(launcher.started) == sorted(graph.plans["loss=infonce,seed=1"])
    assert settled(graph.plans, Store(sweep.root))("tune", dict(graph.plans["loss=likelihood,seed=0"])["tune"])


def test_reports_and_frames_have_the_numbers_of_all_stages(exported: tuple[Sweep, Path], tmp_path: Path) -> None:
    sweep, source = exported
    taken(sweep, source)
    write_expansion(sweep, make_graph(sweep))
    run(sweep, FakeLauncher())
    opened = open_sweep(sweep.folder)
    frame = opened.frame().set_index("trial")
    assert frame.loc["loss=likelihood,seed=1", "tune/heldout/nll_best"] == 2.5
    assert frame.loc["loss=likelihood,seed=1", "evaluate/test/pass@1"] == pytest.approx(4 / 6)
    data = read_sweep(opened)
    assert data.arms[0].values("tune/heldout/nll_best") == [1.5, 2.5]
    assert data.arms[0].seeds[1].outcomes["1"].correct == 1
    page = write_sweep_report(opened, tmp_path / "page")[0].read_text(encoding="utf-8")
    assert "4 of 4 trials were imported" in page
    assert foresight(sweep).startswith("power: 3 points")


def test_results_of_other_fingerprints_are_refused_by_name(exported: tuple[Sweep, Path], load: Load) -> None:
    _, source = exported
    other = load(TREE, experiment={"tune": {"trainer": {"max_steps": 5}}})
    with pytest.raises(UserError, match=r"loss=infonce,seed=0: tune is [0-9a-f]{16} there and [0-9a-f]{16} here") as e:
        taken(other, source)
    assert "and 1 more" in str(e.value) and "\n" not in str(e.value)
    assert not (other.root / "stages").exists()


@pytest.mark.parametrize("name", ["metrics.json", "verdicts.jsonl"])
@pytest.mark.parametrize("change", ["edited", "removed"])
def test_files_that_are_not_what_was_exported_are_refused(exported: tuple[Sweep, Path], name: str, change: str) -> None:
    sweep, source = exported
    path = source / "mine" / "loss=likelihood,seed=0" / name
    if change == "removed":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("true", "false").replace("0.33", "0.93"))
    with pytest.raises(UserError, match=rf"{name} (is missing|has changed since it was exported)"):
        taken(sweep, source)


def test_results_of_trials_that_the_sweep_lacks_are_said(exported: tuple[Sweep, Path], load: Load) -> None:
    _, source = exported
    smaller = load({**TREE, "seeds": [0]})
    found = check_import(smaller, make_graph(smaller), source)
    assert (len(found.trials), found.strange) == (2, ["loss=infonce,seed=1", "loss=likelihood,seed=1"])


def test_a_folder_without_results_names_those_that_are_there(exported: tuple[Sweep, Path], tmp_path: Path) -> None:
    sweep, source = exported
    (source / "mine").rename(source / "yours")
    with pytest.raises(UserError, match=r"no exported results here \(of .*results's sweeps there are: yours\)"):
        check_import(sweep, make_graph(sweep), source)
    with pytest.raises(UserError, match="there are: none"):
        check_import(sweep, make_graph(sweep), tmp_path / "nothing")


def test_a_damaged_evaluation_is_not_exported_and_said(load: Load, tmp_path: Path) -> None:
    sweep = load(TREE)
    graph = make_graph(sweep)
    write_expansion(sweep, graph)
    run(sweep, Writing())
    key = dict(graph.plans["loss=likelihood,seed=0"])["evaluate"]
    (sweep.root / "stages/evaluate" / key / "verdicts.jsonl").write_text("{}\n")
    done = export_results(open_sweep(sweep.folder), tmp_path / "results")
    assert done.trials == 3
    assert len(done.left_out) == 1 and "has changed since stage evaluate finished" in done.left_out[0]


def test_the_commands_export_and_import(
    exported: tuple[Sweep, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domino_lightning.cli.sweep.validate_apart", lambda sweep: [])  # a process of its own
    sweep, source = exported
    path = str(sweep.path)
    assert main(["sweep", path, "--dry-run", "--import", str(source)]) == 0
    assert "import: 4 trials of" in capsys.readouterr().out
    assert not sweep.root.exists()
    assert main(["sweep", path, "--import", str(source)]) == 0
    out = capsys.readouterr().out
    assert "4 trials imported" in out and "4 of 4 trials finished" in out and "power:" in out
    assert main(["sweep", str(sweep.folder), "--status"]) == 0
    assert "4 of 4 trials finished" in capsys.readouterr().out
    assert main(["sweep", path, "--export", str(tmp_path / "again")]) == 0
    assert "4 trials exported to" in capsys.readouterr().out
    assert main(["sweep", path, "--smoke", "--import", str(source)]) == 2
    assert main(["sweep", path, "--import", str(tmp_path / "gone")]) == 2
