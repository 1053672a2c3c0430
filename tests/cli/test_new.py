"""`domino new` writes a project that runs at once and passes its own test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from domino_lightning.cli.arguments import KINDS
from domino_lightning.cli.main import main
from domino_lightning.utils.jsonl import read_json


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_passes_its_own_test_and_is_valid(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "deep" / f"My-{kind}"
    assert main(["new", str(project), "--domain", kind]) == 0
    module = f"my_{kind}_domain.py"
    assert module in capsys.readouterr().out
    names = {"README.md", "data.jsonl", "experiment.yaml", module, "sweep.yaml", f"test_{module}"}
    assert {path.name for path in project.iterdir()} == names
    assert all("$" not in path.read_text() or path.suffix == ".jsonl" for path in project.iterdir())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["check", str(project / "experiment.yaml")]) == 0
    assert main(["sweep", str(project / "sweep.yaml"), "--dry-run"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_runs_at_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"new_{kind}"
    assert main(["new", name, "--domain", kind]) == 0
    assert main(["run", f"{name}/experiment.yaml", "--smoke", "--trial", "t"]) == 0
    trial = tmp_path / "outputs" / "smoke" / "runs" / name / "t"
    assert read_json(trial / "trial.json")["status"] == "finished"


@pytest.mark.parametrize("name", ["1st", "a b", "class", "ä"])
def test_a_name_that_makes_no_module_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / name)]) == 2
    assert f"project '{name}': a name has letters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("mine")
    assert main(["new", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "is there already, and not empty" in err or "a name has letters" in err
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
