"""Sweeps over the small experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.sweep import Sweep, load_sweep

LIKELIHOOD = {"class_path": "domino_lightning.losses.LikelihoodOnly"}
INFONCE = {"class_path": "domino_lightning.losses.InfoNCE", "init_args": {"temperature": 0.5}}
LOSS = {"key": "tune.model.loss", "values": {"likelihood": LIKELIHOOD, "infonce": INFONCE}}
Load = Callable[..., Sweep]


@pytest.fixture
def write_sweep(write_experiment: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`write_sweep(tree, experiment={...})` writes a sweep and the small experiment with changes."""

    def write(tree: dict[str, Any], experiment: dict[str, Any] | None = None, name: str = "mine.yaml") -> Path:
        write_experiment(experiment)
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"experiment": "experiment.yaml"} | tree, sort_keys=False))
        return path

    return write


@pytest.fixture
def load(write_sweep: Callable[..., Path]) -> Load:
    """`load(tree, *overrides)` writes a sweep over the small experiment and expands it."""

    def expand(tree: dict[str, Any], *overrides: str, experiment: dict[str, Any] | None = None) -> Sweep:
        return load_sweep(write_sweep(tree, experiment), overrides)

    return expand
