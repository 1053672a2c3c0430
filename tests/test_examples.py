"""Projects under examples/ work as they stand: by class_path alone, from a directory outside the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.utils.jsonl import read_json

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, as the working directory and on sys.path as `python -m domino_lightning` puts it."""
    copy = tmp_path / "fork"
    shutil.copytree(EXAMPLES / "own_loss", copy, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(str(copy))
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    return copy


def test_an_experiment_trains_a_loss_of_its_own(own_loss: Path) -> None:
    assert main(["run", "experiment.yaml", "--smoke", "--trial", "it", "--until", "tune"]) == 0
    (tuned,) = (own_loss / "outputs" / "smoke" / "runs" / "own_loss" / "it").glob("tune")
    terms = {line.split(",")[1] for line in (tuned / "metrics.csv").read_text().splitlines()[1:]}
    assert {"tune/train/contrast", "tune/train/own", "tune/heldout/nll"} <= terms


def test_editing_the_loss_changes_the_fingerprint_of_tune_alone(own_loss: Path) -> None:
    def fingerprints() -> dict[str, str]:
        return {step.stage: step.key.fingerprint for step in make_plan(load_config("experiment.yaml"), until="tune")}

    before = fingerprints()
    source = own_loss / "my_losses.py"
    source.write_text(source.read_text() + "# edited\n")
    after = fingerprints()
    assert before["prepare"] == after["prepare"]
    assert before["tune"] != after["tune"]


@pytest.mark.parametrize("name", ["own_loss", "own_domain", "unseen_language"])
def test_the_projects_own_tests_pass(name: str, tmp_path: Path) -> None:
    # A process of its own: its test module must find the project's modules as a user's pytest finds them.
    copy = tmp_path / name
    shutil.copytree(EXAMPLES / name, copy, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "outputs"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_no_example_is_left_out() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert names == {"own_loss", "own_domain", "unseen_language"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_domain", "unseen_language"])
def test_a_domain_of_its_own_goes_through_every_stage_from_another_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By class_path alone: modules and data are found beside the experiment."""
    monkeypatch.chdir(tmp_path)
    experiment = str(EXAMPLES / name / "experiment.yaml")
    assert main(["run", experiment, f"root={tmp_path}", "--smoke", "--trial", "it"]) == 0
    trial = tmp_path / "smoke" / "runs" / name / "it"
    assert read_json(trial / "trial.json")["status"] == "finished"
    assert read_json(trial / "finetune" / "coder.json")["pairs"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_experiment_and_sweep_is_planned(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sweep", str(path), "--dry-run"] if "experiment:" in path.read_text() else ["check", str(path)]
    assert main(command) == 0
