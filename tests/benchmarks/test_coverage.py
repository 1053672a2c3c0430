"""The coverage benchmark: its world has the means it says, and it judges what the report shows."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domino_lightning.evaluation.statistics import cluster_mean
from domino_lightning.reporting.sweep.arms import read_sweep
from domino_lightning.reporting.sweep.estimates import arm_scores, differences
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import PROBLEMS, FakeSweep

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("coverage")


def test_every_arm_has_the_mean_and_groups_go_together(benchmark: Any) -> None:
    world, shape = benchmark.World(0.3, 0.02, 0.05), benchmark.Shape(60, (1, 2, 3, 4))
    solved = benchmark.draw(world, shape, 2, 1500, np.random.default_rng(0))
    assert solved.shape == (1500, 4, 2, 60)
    for arm, mean in enumerate((0.3, 0.3, 0.4, 0.3)):
        assert solved[:, arm].mean() == pytest.approx(mean, abs=0.01)
    # Of all problems: 0.7² of the pairs share their difficulty, whose chances have variance m/(2 - m) - m².
    expected = 0.49 * (0.3 / 1.7 - 0.09)
    first = solved[:, 0, 0].astype(float)
    assert np.cov(first[:, 1], first[:, 2])[0, 1] == pytest.approx(expected, abs=0.02)
    assert np.cov(first[:, 0], first[:, 1])[0, 1] == pytest.approx(0, abs=0.02)


def test_shapes_take_their_sizes_in_turn(benchmark: Any) -> None:
    assert benchmark.Shape(10, (1, 2, 3, 4)).groups == [1, 2, 3, 4]
    assert str(benchmark.Shape(60, (4,))) == "60 in 15"


@pytest.mark.parametrize("seeds", [1, 3])
def test_it_judges_what_the_report_shows(benchmark: Any, tmp_path: Path, seeds: int) -> None:
    world, shape = benchmark.World(0.3, 0.05, 0.05), benchmark.Shape(PROBLEMS, (2,))  # groups of fake sweeps
    solved = benchmark.draw(world, shape, seeds, 6, np.random.default_rng(seeds))
    verdicts = benchmark.judge(benchmark.tables_of(solved, shape), world)
    for turn in range(6):
        sweep = FakeSweep(FakeStore(tmp_path / str(turn)), {"arm": dict.fromkeys("abcd", 0)}, "arm=a")
        for arm, name in enumerate("abcd"):
            for seed in range(seeds):
                sweep.trial({"arm": name}, seed, np.flatnonzero(solved[turn, arm, seed]).tolist())
        data = read_sweep(open_sweep(sweep.write()))
        scores, found = arm_scores(data.arms), differences(data.arms, data.baseline)
        assert scores[1] is not None and found[1] is not None and found[2] is not None
        assert verdicts["score"][turn] == (scores[1].estimate.low <= 0.3 <= scores[1].estimate.high)
        assert verdicts["rejected"][turn] == (found[1].p < 0.05)
        assert verdicts["difference"][turn] == (found[2].estimate.low <= 0.1 <= found[2].estimate.high)
        assert verdicts["power"][turn] == (found[2].p < 0.05)


def test_tables_of_unequal_groups_are_those_of_evaluations(benchmark: Any) -> None:
    shape = benchmark.Shape(20, (1, 2, 3, 4))
    solved = benchmark.draw(benchmark.World(0.3, 0, 0), shape, 1, 1, np.random.default_rng(0))
    table = benchmark.components(benchmark.tables_of(solved, shape)[0, 0])
    labels = np.repeat(np.arange(len(shape.groups)), shape.groups).tolist()
    assert benchmark.score_interval(table) == pytest.approx(cluster_mean(solved[0, 0, 0], labels)[1:])


def test_the_command_prints_a_row_for_each_number_of_seeds_and_writes_every_cell(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "SEEDS", (1, 2))
    monkeypatch.setattr("sys.argv", ["coverage.py", "--quick", "--json", str(tmp_path / "x.json")])
    benchmark.main()
    cells = json.loads((tmp_path / "x.json").read_text())["cells"]
    assert [(cell["world"]["seeds"], cell["problems"], cell["groups"]) for cell in cells] == [
        (1, 60, 15), (1, 120, 120), (2, 60, 15), (2, 120, 120),
    ]  # fmt: skip
    assert all(0 <= value <= 100 for cell in cells for value in cell["percent"].values())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2
