"""The sweep benchmark's numbers against a hand-made event log, and that its sweep is the one it describes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.sweep import load_sweep
from domino_lightning.sweep.graph import make_graph

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("sweep")


def test_numbers_of_a_log(benchmark: Any) -> None:
    log = [
        {"event": "launched"},
        {"event": "begun", "stage": "prepare", "startup_s": 1.0},
        {"event": "finished", "stage": "prepare", "waited_s": 0.0},
        {"event": "begun", "stage": "tune", "startup_s": 4.0},
        {"event": "begun", "stage": "tune", "startup_s": 6.0},
        {"event": "finished", "stage": "tune", "waited_s": 0.3},
        {"event": "finished", "stage": "tune", "waited_s": 0.6},
        {"event": "closed", "launcher_cpu_s": 2.5},
    ]
    found = benchmark.summary(log, two=100.0, one=180.0, gain=1.875, naive=400.0)
    assert found["wait_s_per_stage"] == pytest.approx(0.3)
    assert found["wait_s_at_most"] == 0.6
    assert found["launcher_cpu_s"] == 2.5
    assert found["import_s"] == {"prepare": 1.0, "tune": 5.0}
    assert found["import_s_per_stage"] == pytest.approx(11 / 3)
    assert found["efficiency"] == pytest.approx(0.96)
    assert found["saved"] == pytest.approx(0.75)


def test_twelve_trials_share_their_tunings_and_syntheses(benchmark: Any, tmp_path: Path) -> None:
    sweep = load_sweep(benchmark.sweep_file(tmp_path, "small", benchmark.AXES))
    nodes = [stage for stage, _ in make_graph(sweep).nodes]
    assert len(sweep.trials) == 12
    assert {stage: nodes.count(stage) for stage in ("prepare", "tune", "synthesize", "finetune", "evaluate")} == {
        "prepare": 1, "tune": 2, "synthesize": 4, "finetune": 12, "evaluate": 12
    }  # fmt: skip
