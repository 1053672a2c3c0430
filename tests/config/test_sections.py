"""Sections against their typed classes: values keep the type that the document gives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_count_stays_a_count_whatever_was_imported_before() -> None:
    """Rich writes Optional[Union[float, int]], and Python gives Lightning's Optional[Union[int, float]] that order."""
    code = (
        "import rich.console, rich.table\n"
        "from domino_lightning.config.document import load_config\n"
        "from domino_lightning.stages import stage_class\n"
        "asked = ['tune.trainer.limit_train_batches=0.5', 'tune.trainer.detect_anomaly=false']\n"
        "config = load_config('experiments/quickstart.yaml', asked)\n"
        "trainer = stage_class('tune').from_config(config).trainer\n"
        "print([trainer[key] for key in ('limit_val_batches', 'val_check_interval', 'limit_train_batches')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[8, 11, 0.5]"
