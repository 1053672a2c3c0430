"""Lightning's own loggers and callbacks beside ours, as docs/wandb.md has them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.tracking.metrics_file import read_metrics, series
from tests.conftest import ROOT, refused

Write = Callable[..., Path]


def documented() -> dict[str, Any]:
    """The example of docs/wandb.md."""
    text = (ROOT / "docs" / "wandb.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "CSVLogger" in block)
    tree: dict[str, Any] = yaml.safe_load(block)
    return tree


def logged(folder: Path) -> dict[str, set[int]]:
    """The steps at which the one CSVLogger file below a folder has each key."""
    (path,) = folder.glob("version_*/metrics.csv")
    found: dict[str, set[int]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for key in [key for key, value in row.items() if value and key != "step"]:
                found.setdefault(key, set()).add(int(row["step"]))
    return found


def test_the_documented_loggers_are_told_what_ours_are(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_experiment({**documented(), "finetune": documented()["finetune"] | {"source": "both"}})
    assert main(["check", str(path)]) == 0
    assert not (tmp_path / "outputs" / "loggers").exists()
    assert main(["run", str(path), "--smoke", "--until", "finetune", "--trial", "t"]) == 0
    folder = tmp_path / "outputs" / "loggers"
    (trial,) = tmp_path.rglob("runs/*/t")
    for stage in ("tune", "finetune"):
        told, ours = logged(folder / stage), read_metrics(trial / stage)
        for key, steps in ((f"{stage}/train/loss", {1, 2}), (f"{stage}/heldout/nll", {0, 1, 2})):
            assert told[key] == {step for step, _ in series(ours, key)} == steps


def test_a_logger_is_no_part_of_a_fingerprint_and_a_callback_is(write_experiment: Write) -> None:
    def digest(trainer: dict[str, Any]) -> str:
        path = write_experiment({"tune": {"trainer": trainer}})
        return next(each.key.fingerprint for each in make_plan(load_config(path)) if each.stage == "tune")

    trainer = documented()["tune"]["trainer"]
    plain = digest({})
    assert digest({"logger": trainer["logger"]}) == plain
    assert digest({"callbacks": trainer["callbacks"]}) != plain


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_logger_that_names_none_is_refused(
    write_experiment: Write, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    message = refused(capsys, "check", write_experiment(), f"tune.trainer.logger={value}")
    assert "tune.trainer.logger" in message and "class_path" in message


def test_a_logger_that_cannot_be_made_is_told_by_check(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "tune.trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dirs: x}}"
    assert "save_dirs" in refused(capsys, "check", write_experiment(), asked)
