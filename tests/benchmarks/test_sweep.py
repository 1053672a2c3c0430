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
    def at(second: int, event: str, fingerprint: str = "", **fields: Any) -> dict[str, Any]:
        return {"time": f"2026-01-01T00:00:{second:02}.000Z", "event": event, "fingerprint": fingerprint, **fields}

    log = [
        at(0, "launched"),
        at(1, "started", "a", stage="prepare"),
        at(2, "begun", "a", stage="prepare", startup_s=1.0),
        at(11, "finished", "a", stage="prepare", waited_s=0.0),
        at(11, "started", "b", stage="tune"),
        at(11, "started", "c", stage="tune"),
        at(15, "begun", "b", stage="tune", startup_s=4.0),
        at(17, "begun", "c", stage="tune", startup_s=6.0),
        at(31, "finished", "b", stage="tune", waited_s=0.3),
        at(41, "finished", "c", stage="tune", waited_s=0.6),
        at(42, "closed", launcher_cpu_s=2.5),
    ]
    found = benchmark.summary(log, two=100.0, naive=400.0)
    assert found["wait_s_per_stage"] == pytest.approx(0.3)
    assert found["wait_s_at_most"] == 0.6
    assert found["launcher_cpu_s"] == 2.5
    assert found["import_s"] == {"prepare": 1.0, "tune": 5.0}
    assert found["import_s_per_stage"] == pytest.approx(11 / 3)
    assert found["efficiency"] == pytest.approx((10 + 20 + 30) / (2 * 40))
    assert found["saved"] == pytest.approx(0.75)


@pytest.mark.slow
def test_twelve_trials_share_their_tunings_and_syntheses(benchmark: Any, tmp_path: Path) -> None:
    sweep = load_sweep(benchmark.sweep_file(tmp_path, "small", benchmark.AXES))
    nodes = [stage for stage, _ in make_graph(sweep).nodes]
    assert len(sweep.trials) == 12
    assert {stage: nodes.count(stage) for stage in ("prepare", "tune", "synthesize", "finetune", "evaluate")} == {
        "prepare": 1, "tune": 2, "synthesize": 4, "finetune": 12, "evaluate": 12
    }  # fmt: skip
