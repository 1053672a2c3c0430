"""W&B offline: one run per executed stage and one per trial, read back from the files that wandb wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.config.tracking import Tracking
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.stages import stage_class
from domino_lightning.tracking.offline import OfflineRun, offline_runs
from domino_lightning.tracking.records import read_records
from domino_lightning.tracking.relocate import entries
from domino_lightning.tracking.wandb import axes_of, log_report, start_run, tag_of
from tests.conftest import finished_offline_runs, write_rows


def logged(root: Path) -> dict[str, OfflineRun]:
    """Runs below a store, by job type."""
    runs = finished_offline_runs(root, 3)
    assert len({run.job_type for run in runs}) == len(runs)
    return {run.job_type: run for run in runs}


def local_paths(path: Path) -> list[str]:
    """Where a `.wandb` file says that the files of its artifacts lie."""
    return [entry.local_path for record in read_records(path) for entry in entries(record)]


def csv_values(path: Path) -> dict[str, float]:
    """The last value of every key of a metrics file."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return {key: float(value) for _, key, value in rows}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> tuple[Path, dict[str, str]]:
    """The store of a run of prepare and tune with W&B offline, and its fingerprints."""
    import yaml

    folder = tmp_path_factory.mktemp("tracked")
    rows = [
        {
            "id": str(n),
            "code": f"def f(a):\n    return a + {'a + ' * n}1",
            "input": "2",
            "output": str(3 + 2 * n),
        }
        for n in range(6)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {
        "name": "tracked",
        "root": str(folder / "outputs"),
        "backbone": str(tiny_backbone),
        "tracking": {"wandb": "offline", "project": "tests"},
        "prepare": {"source": {"path": str(folder / "data.jsonl")}, "split": {"reference": 2, "heldout": 2}},
        "tune": {"trainer": {"max_steps": 2, "val_check_interval": 1, "accelerator": "cpu"}},
    }
    (folder / "x.yaml").write_text(yaml.safe_dump(tree))
    overrides = ["seed=3", "tune.model.num_sample_tokens=2"]
    config = load_config(folder / "x.yaml", overrides)
    plan = make_plan(config, until="tune")
    run_plan(config, plan, "trial", overrides, in_process=True)
    return folder / "outputs", {step.stage: step.key.fingerprint for step in plan}


def test_one_offline_run_per_executed_stage_and_one_for_the_trial(
    tracked: tuple[Path, dict[str, str]],
) -> None:
    runs = logged(tracked[0])
    assert set(runs) == {"prepare", "tune", "trial"}
    for each in runs.values():
        assert each.group == "tracked"
        assert each.project == "tests"
        assert each.exit_code == 0


def test_a_stage_run_is_identified_by_its_fingerprint(tracked: tuple[Path, dict[str, str]]) -> None:
    root, digests = tracked
    runs = logged(root)
    for stage, digest in digests.items():
        assert runs[stage].run_id == digest
    assert runs["tune"].config["inputs"] == {"prepare": digests["prepare"]}
    assert runs["tune"].config["section"]["seed"] == 3
    assert runs["prepare"].config["section"]["split"]["reference"] == 2


def test_keys_are_stage_split_name(tracked: tuple[Path, dict[str, str]]) -> None:
    runs = logged(tracked[0])
    assert runs["prepare"].summary["prepare/reference/rows"] == 2
    assert {"tune/heldout/nll", "tune/heldout/nll_best", "tune/train/loss"} <= set(runs["tune"].summary)
    assert {"tune/train/loss", "tune/heldout/nll"} <= set(runs["tune"].history)
    assert len(runs["tune"].history["tune/train/loss"]) == 2  # steps
    for stage in ("prepare", "tune"):
        # Lightning's logger adds trainer/global_step, the axis of its charts.
        own = [key for key in runs[stage].summary if not key.startswith(("_", "trainer/")) and key != "epoch"]
        assert own
        # Of an image, a table or a histogram, the summary has what W&B says about it, below its key.
        names = ("pair_matrix", "samples", "nearest_tokens", "domain_norms", "sample_norms")
        below = tuple(f"tune/health/{name}/" for name in names)
        own = [key for key in own if not key.startswith(below)]
        assert all(key.startswith(f"{stage}/") and key.count("/") == 2 for key in own), own


def test_curves_are_drawn_over_optimizer_steps(tracked: tuple[Path, dict[str, str]]) -> None:
    runs = logged(tracked[0])
    assert runs["tune"].step_metrics["tune/*"] == runs["trial"].step_metrics["tune/*"] == "trainer/global_step"
    assert runs["prepare"].step_metrics == {}
    steps = dict.fromkeys(runs["tune"].history["trainer/global_step"])
    assert sorted(steps) == [0, 1, 2]  # before the first of two optimizer steps, whatever else was logged
    assert runs["trial"].history["tune/train/loss"] == runs["tune"].history["tune/train/loss"]
    assert runs["trial"].history["trainer/global_step"] == [0, 1, 2]


def test_the_learning_rate_and_the_distribution_of_norms_are_logged(tracked: tuple[Path, dict[str, str]]) -> None:
    run = logged(tracked[0])["tune"]
    rates = run.history["tune/train/learning_rate"]
    assert len(rates) == 2 and all(0 < rate <= run.config["section"]["model"]["learning_rate"] for rate in rates)
    values = run.history["tune/health/domain_norms/values"][-1]
    assert sum(values) == run.config["section"]["model"]["domain_prompt"]["init_args"]["num_tokens"]


def test_the_trial_has_the_whole_document(tracked: tuple[Path, dict[str, str]]) -> None:
    assert logged(tracked[0])["trial"].config["experiment"]["prepare"]["split"]["reference"] == 2


def test_copies_that_wait_for_an_upload_lie_in_the_store(tracked: tuple[Path, dict[str, str]]) -> None:
    paths = [entry for path in offline_runs(tracked[0]) for entry in local_paths(path)]
    assert paths and all(Path(path).is_relative_to(tracked[0].resolve()) for path in paths), paths


def test_health_is_in_wandb_and_in_csv(tracked: tuple[Path, dict[str, str]]) -> None:
    root, digests = tracked
    run, directory = logged(root)["tune"], root / "stages" / "tune" / digests["tune"]
    written = {**csv_values(directory / "metrics.csv"), **csv_values(directory / "speed.csv")}
    numbers = {"nll", "own_gain", "other_gap", "domain_norm", "sample_norm", "domain_grad_norm", "sample_grad_norm"}
    keys = {f"tune/health/{name}" for name in numbers} | {"tune/speed/tokens_per_s", "tune/speed/share_of_peak"}
    assert keys <= set(run.history)
    for key in keys:
        assert run.history[key][-1] == pytest.approx(written[key]), key


def test_health_has_an_image_of_the_pair_matrix_and_tables_of_texts_and_tokens(
    tracked: tuple[Path, dict[str, str]],
) -> None:
    root, digests = tracked
    run, directory = logged(root)["tune"], root / "stages" / "tune" / digests["tune"]
    folder = run.path.parent
    (image,) = run.history["tune/health/pair_matrix/filenames"][-1]
    assert (folder / "files" / image).read_bytes().startswith(b"\x89PNG")

    def table(name: str) -> dict[str, Any]:
        path = folder / "files" / run.history[f"tune/health/{name}/path"][-1]
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def line(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((directory / f"{name}.jsonl").read_text().splitlines()[-1])
        return content

    texts = table("samples")
    assert texts["columns"] == ["step", "row", "text", "finished"]
    assert [row[2] for row in texts["data"]] == [entry["text"] for entry in line("samples")["texts"]]
    nearest = table("nearest_tokens")["data"]
    assert [row[2] for row in nearest] == [repr(entry["nearest"][0]) for entry in line("nearest_tokens")["tokens"]]
    assert len(line("pair_matrix")["nll"]) == 2  # two references


def test_the_trial_run_has_axes_stage_runs_and_final_numbers(tracked: tuple[Path, dict[str, str]]) -> None:
    root, digests = tracked
    trial = logged(root)["trial"]
    assert trial.config["axes/seed"] == 3
    assert trial.config["axes/tune/model/num_sample_tokens"] == 2
    assert trial.config["stage_runs"] == digests
    tune = stage_class("tune").metrics(root / "stages" / "tune" / digests["tune"])
    assert trial.summary["tune/heldout/nll_best"] == pytest.approx(tune["tune/heldout/nll_best"])


def test_lineage_lies_in_the_config_while_offline(tracked: tuple[Path, dict[str, str]]) -> None:
    root, digests = tracked
    runs = logged(root)
    assert runs["prepare"].artifacts == [(f"prepare-{digests['prepare']}", "corpus")]
    own = [artifact for artifact in runs["tune"].artifacts if artifact[1] != "run_table"]  # W&B keeps tables as such
    assert own == [(f"tune-{digests['tune']}", "soft_prompt")]
    assert runs["prepare"].config["lineage"] == []
    assert runs["tune"].config["lineage"] == [f"prepare-{digests['prepare']}"]


def test_a_stage_found_finished_gets_no_run(
    tracked: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    root, _ = tracked
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was begun"))
    config = load_config(root.parent / "x.yaml", ["seed=3", "tune.model.num_sample_tokens=2"])
    outcomes = run_plan(config, make_plan(config, until="tune"), "again", [], in_process=True)
    assert not any(outcome.ran for outcome in outcomes)


def test_csv_is_written_besides(tracked: tuple[Path, dict[str, str]]) -> None:
    root, digests = tracked
    lines = (root / "stages/tune" / digests["tune"] / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,key,value"
    assert {line.split(",")[1] for line in lines[1:]} >= {"tune/train/loss", "tune/heldout/nll"}


def test_disabled_leaves_no_directory(smoke_root: Path, tmp_path: Path) -> None:
    assert start_run(Tracking("disabled", root=str(tmp_path)), "id", "name", "tune", {}) is None
    assert list(tmp_path.iterdir()) == []
    assert not (smoke_root / "wandb").exists()


def test_other_ranks_log_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert start_run(Tracking("offline", root=str(tmp_path)), "id", "name", "tune", {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_is_a_failed_run_with_its_error(
    write_experiment: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(write_experiment(), ["tracking.wandb=offline", "prepare.split.reference=100"])
    with pytest.raises(Exception, match="Every split needs"):
        run_plan(config, make_plan(config, "prepare"), "trial", [], in_process=True)
    stage, trial = sorted(finished_offline_runs(Path(config.document["root"]), 2), key=lambda run: run.job_type)
    assert (stage.job_type, stage.exit_code, trial.job_type, trial.exit_code) == ("prepare", 1, "trial", 1)
    assert "Every split needs" in trial.config["error"] and trial.name.endswith("(failed)")


def test_a_long_tag_is_cut_and_stays_its_own() -> None:
    long = [tag_of("arm:" + "x" * 100 + end) for end in "ab"]
    assert tag_of("sweep:a") == "sweep:a"
    assert len(set(long)) == 2 and all(len(tag) == 64 for tag in long)


def test_a_stage_that_fails_ends_its_run(
    write_experiment: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next stage of the same process would log into it."""
    finished = []

    class Fake:
        def finish(self, exit_code: int = 0) -> None:
            finished.append(exit_code)

    monkeypatch.setattr("domino_lightning.tracking.wandb.start_run", lambda *_: Fake())
    config = load_config(write_experiment(), ["tracking.wandb=offline", "prepare.split.reference=100"])
    with pytest.raises(Exception, match="Every split needs"):
        run_plan(config, make_plan(config, "prepare"), "trial", [], in_process=True)
    assert finished == [1]


def test_best_value_is_the_lowest_of_the_history(tmp_path: Path) -> None:
    rows = [(1, "tune/heldout/nll", 3.0), (2, "tune/heldout/nll", 2.0), (3, "tune/heldout/nll", 2.5)]
    text = "step,key,value\n" + "".join(f"{step},{key},{value}\n" for step, key, value in rows)
    (tmp_path / "metrics.csv").write_text(text)
    assert stage_class("tune").metrics(tmp_path) == {"tune/heldout/nll": 2.5, "tune/heldout/nll_best": 2.0}


def test_samples_are_rows_of_one_width(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": "a", "reason": "parse"}, {"id": "2", "text": "b", "reason": "copy", "detail": "ref-1"}]
    write_rows(tmp_path / "rejected.jsonl", rows)
    assert stage_class("curate").samples_key == "curate/rejected/samples"
    assert stage_class("curate").samples(tmp_path) == [
        {"id": "1", "text": "a", "reason": "parse", "detail": ""},
        {"id": "2", "text": "b", "reason": "copy", "detail": "ref-1"},
    ]


def test_samples_of_an_evaluation_stand_beside_their_verdicts(tmp_path: Path) -> None:
    generations = [{"id": "1", "completions": ["x", "y"]}, {"id": "2", "completions": ["z"]}]
    write_rows(tmp_path / "generations.jsonl", generations)
    write_rows(tmp_path / "verdicts.jsonl", [{"id": "2", "verdicts": [{"passed": True, "status": "passed"}]}])
    assert stage_class("evaluate").samples_key == "evaluate/test/samples"
    assert stage_class("evaluate").samples(tmp_path) == [
        {"id": "1", "completion": "x", "status": "", "detail": ""},
        {"id": "2", "completion": "z", "status": "passed", "detail": ""},
    ]


def test_axes_keep_the_type_that_yaml_gives_them() -> None:
    overrides = ["seed=1", "a.b=1.0e-3", "a.c=1e-3", "a.d=5e2", "a.loss={class_path: x.Y}", "seed=2", "name=x=y"]
    overrides += ["odd={"]
    assert axes_of(overrides) == {
        "seed": 2,
        "a.b": 0.001,
        "a.c": 0.001,
        "a.d": 500.0,
        "a.loss": {"class_path": "x.Y"},
        "name": "x=y",
        "odd": "{",
    }


def test_a_report_is_an_artifact_logged_once(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<p>one</p>")
    tracking = Tracking("offline", "tests", group="a sweep", root=str(tmp_path / "store"))
    for _ in range(2):
        log_report(tracking, [page])
    page.write_text("<p>two</p>")
    log_report(tracking, [page])
    runs = finished_offline_runs(tmp_path / "store", 2)
    assert [run.artifacts for run in runs] == [[("report-a-sweep", "report")]] * 2
    assert {run.job_type for run in runs} == {"report"}
