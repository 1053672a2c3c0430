"""A small experiment whose stages are planned and run in this process, and a fork with a loss of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from domino_lightning.config.document import load_config
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.runner.planned import StageOutcome

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]

# Held-out texts instead of samples: prepare, synthesize, curate and answer run without a model.
REPLAYED = {"class_path": "domino_lightning.synthesis.HeldoutReplay"}
REPLAY = {"synthesize": {"generator": REPLAYED}}

FORK = """
import os, time
from domino_lightning.losses import InfoNCE

class Loss(InfoNCE):
    def forward(self, nll, progress=0.0):
        time.sleep(float(os.environ.get("FORK_SLEEP", 0)))
        if progress >= float(os.environ.get("FORK_DIES_AT", 2)):
            raise RuntimeError("the machine went away")
        return super().forward(nll, progress)
"""


def fingerprints(path: Path, *overrides: str) -> dict[str, str]:
    return {step.stage: step.key.fingerprint for step in make_plan(load_config(path, overrides))}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {stage for stage in before if before[stage] != after.get(stage)}


def run(path: Path, *overrides: str, until: str | None = None, **options: Any) -> list[StageOutcome]:
    config = load_config(path, overrides)
    return run_plan(config, make_plan(config, until), "trial", overrides, in_process=True, **options)


def ran(outcomes: list[StageOutcome]) -> list[str]:
    return [outcome.planned.stage for outcome in outcomes if outcome.ran]


FORK_LOSS = {"class_path": "fork_under_test.Loss", "init_args": {"pairs": 1}}
