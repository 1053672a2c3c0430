"""domino push: what it lists, what reaches a stand-in of the hub, and that bad input is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from domino_lightning.cli.arguments import PARTS as OFFERED
from domino_lightning.cli.main import main
from domino_lightning.release.parts import PARTS
from domino_lightning.results.runs import Run
from tests.conftest import refused
from tests.release.conftest import TOKEN, Hub, hub, smoke_run

__all__ = ["hub", "smoke_run"]

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]
LICENSES = ("--license", "cc-by-4.0", "--reference-license", "mit", "--backbone-license", "apache-2.0")


def push(run: Run, stand_in: Hub, home: Path, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: huggingface_hub reads its settings once, when it is imported."""
    settings = {"HF_ENDPOINT": stand_in.endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "domino_lightning", "push", str(run.path), "--to", "me/pairs", *LICENSES, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_parts_that_the_command_offers_are_those_that_there_are() -> None:
    assert list(OFFERED) == list(PARTS)


@pytest.mark.slow
def test_a_push_makes_three_repositories_with_one_commit_each(smoke_run: Run, hub: Hub, tmp_path: Path) -> None:
    done = push(smoke_run, hub, tmp_path, "--private")
    assert done.returncode == 0, done.stderr
    names = {("dataset", "me/pairs"): True, ("model", "me/pairs-soft-prompt"): True, ("model", "me/pairs-coder"): True}
    assert hub.repos == names
    assert len(hub.commits) == 3
    folder = hub.lay_out("me/pairs", tmp_path / "pairs")
    assert (folder / "pairs.parquet").read_bytes() == (smoke_run.path / "answer" / "pairs.parquet").read_bytes()
    assert yaml.safe_load((folder / "README.md").read_text().split("---")[1])["license"] == "cc-by-4.0"
    assert (
        f'"contentUrl": "{hub.endpoint}/datasets/me/pairs/resolve/main/pairs.parquet"'
        in (folder / "croissant.json").read_text()
    )
    weights = (smoke_run.path / "finetune" / "model" / "adapter_model.safetensors").read_bytes()
    assert hub.files["model", "me/pairs-coder", "adapter_model.safetensors"] == weights
    assert done.stdout.count("pushed: http://127.0.0.1") == 3


@pytest.mark.slow
@pytest.mark.parametrize(("token", "refuse", "said"), [("hf_bad", 0, "hf auth login"), (TOKEN, 403, "HF_TOKEN")])
def test_a_hub_that_refuses_is_one_line_with_the_remedy(
    smoke_run: Run, hub: Hub, tmp_path: Path, token: str, refuse: int, said: str
) -> None:
    hub.refuse = refuse
    done = push(smoke_run, hub, tmp_path, "--only", "soft-prompt", token=token)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"domino: push: me/pairs-soft-prompt: the hub at {hub.endpoint} refused")
    assert said in lines[0]
    assert hub.files == {}


def test_a_dry_run_lists_files_and_pushes_nothing(smoke_run: Run, tmp_path: Path, capsys: Capture) -> None:
    """The tests forbid the hub altogether: a single call would fail."""
    arguments = ["push", str(smoke_run.path), "--to", "me/pairs", *LICENSES, "--dry-run", "--only", "data"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    listed = [line.split()[-1] for line in printed.splitlines() if line.startswith("    ")]
    folder = tmp_path / "out" / "pairs"
    assert sorted(listed) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert "me/pairs-coder" not in printed
    assert "Nothing was pushed" in printed


def test_without_the_hub_the_command_says_that_it_was_not_reached(smoke_run: Run, capsys: Capture) -> None:
    arguments = ["push", smoke_run.path, "--to", "me/pairs", *LICENSES, "--only", "soft-prompt"]
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    assert "was not reached" in capsys.readouterr().err


def test_unknown_licenses_are_refused_before_anything_else(smoke_run: Run, capsys: Capture) -> None:
    said = refused(capsys, "push", smoke_run.path, "--to", "me/pairs", "--dry-run")
    assert "license, reference_license, backbone_license of this run are 'unknown'" in said


@pytest.mark.parametrize("name", ["pairs", "a/b/c", "me/pa irs", "me/-pairs", "me/"])
def test_a_name_that_the_hub_would_refuse_is_refused(smoke_run: Run, capsys: Capture, name: str) -> None:
    assert refused(capsys, "push", smoke_run.path, f"--to={name}", *LICENSES, "--dry-run").startswith("push: --to '")


def test_a_folder_that_is_not_empty_is_not_written_into(smoke_run: Run, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "mine.txt").touch()
    arguments = ["push", str(smoke_run.path), "--to", "me/pairs", *LICENSES, "--dry-run", "--output", str(tmp_path)]
    assert main(arguments) == 2
    assert "pairs: is not empty" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "pairs"]


def test_a_path_without_a_run_is_refused(capsys: Capture, tmp_path: Path) -> None:
    assert "no trial.json here" in refused(capsys, "push", tmp_path, "--to", "me/pairs")
