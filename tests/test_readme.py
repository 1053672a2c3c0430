"""What the README tells a reader to type works as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from domino_lightning.cli.main import parse_arguments
from domino_lightning.config.document import load_config

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    shlex.split(line, comments=True) for block in blocks("console") for line in block.splitlines() if line.strip()
]


def test_the_first_two_commands_are_quickstart_and_test() -> None:
    assert COMMANDS[:2] == [["make", "quickstart"], ["make", "test"]]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_make_target_exists(command: list[str]) -> None:
    done = subprocess.run(["make", "--dry-run", *command[1:]], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if "domino" in c[0] or c[:1] == ["python"]], ids=" ".join)
def test_domino_command_parses_and_its_experiment_composes(command: list[str]) -> None:
    argv = command[3:] if command[0] == "python" else command[1:]
    arguments = parse_arguments(argv)
    if hasattr(arguments, "experiment"):
        config = load_config(PROJECT / arguments.experiment, arguments.overrides)
        assert config.document["name"]


def test_every_command_is_one_that_is_tested_here() -> None:
    assert {command[0] for command in COMMANDS} <= {"make", "domino", "python"}


@pytest.mark.slow
def test_the_loss_of_the_readme_runs_by_class_path_alone(tmp_path: Path) -> None:
    source = next(block for block in blocks("python") if "DisentanglementLoss" in block)
    (tmp_path / "my_losses.py").write_text(source, encoding="utf-8")
    command = next(command for command in COMMANDS if command[0] == "python")
    argv = [sys.executable, *command[1:4], str(PROJECT / command[4]), *command[5:], "--smoke", "--until", "tune"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT), "HOME": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    metrics = next((tmp_path / "outputs" / "smoke" / "stages" / "tune").glob("*/metrics.csv")).read_text()
    assert "tune/train/hinge" in metrics
