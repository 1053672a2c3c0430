"""`domino power`: what a pilot says of the seeds and problems needed, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from domino_lightning.cli.main import main
from domino_lightning.cli.sweep import foresight
from domino_lightning.evaluation.power import power, variances
from domino_lightning.reporting import write_sweep_report
from domino_lightning.reporting.sweep.arms import SweepData, read_sweep
from domino_lightning.reporting.sweep.estimates import difference_components
from domino_lightning.reporting.sweep.needed import needed
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import FakeSweep, some

Capture = pytest.CaptureFixture[str]


def pilot(root: Path, seeds: int) -> str:
    sweep = FakeSweep(FakeStore(root), {"arm": {"a": "a", "b": "b"}}, "arm=a")
    for seed in range(seeds):
        sweep.trial({"arm": "a"}, seed, some(16, seed))
        sweep.trial({"arm": "b"}, seed, some(20, seed + 50))
    return str(sweep.write())


def test_it_tells_the_seeds_needed_at_several_numbers_of_problems(tmp_path: Path, capsys: Capture) -> None:
    assert main(["power", pilot(tmp_path, 3), "--points", "10"]) == 0
    out = capsys.readouterr().out
    assert "pilot: 1 arms against a, up to 3 seeds, 40 problems in 20 groups" in out
    assert "between seeds (with 2 degrees of freedom up to" in out
    rows = [line.split(maxsplit=2) for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows] == [[str(40 * n), str(20 * n)] for n in (1, 2, 3, 5, 10)]
    assert "for 10 points with 80% power" in out


def test_a_pilot_with_one_seed_is_refused_with_the_remedy(tmp_path: Path, capsys: Capture) -> None:
    assert main(["power", pilot(tmp_path, 1)]) == 2
    assert "Run it with seeds=[0,1,2]" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--points", "0"), ("--power", "1"), ("--points", "nan"), ("--baseline", "arm=x")])
def test_bad_flags_are_told(tmp_path: Path, capsys: Capture, flags: tuple[str, str]) -> None:
    assert main(["power", pilot(tmp_path, 2), *flags]) == 2
    assert flags[1] in capsys.readouterr().err


def read(path: str) -> SweepData:
    return read_sweep(open_sweep(path))


def test_the_seeds_of_a_row_see_the_points_and_one_less_does_not(tmp_path: Path) -> None:
    data = read(pilot(tmp_path, 3))
    found = needed(data, points=10, times=(1, 2))
    tables = [row[1] for row in difference_components(data.arms, data.baseline) if isinstance(row, tuple)]
    for (_, groups, seeds, *_), times in zip(found.rows, (1, 2), strict=True):
        assert int(groups) == 20 * times
        if seeds.isdigit():
            assert power(variances(tables), 0.1, int(seeds), int(groups)) >= 0.8
            assert int(seeds) == 2 or power(variances(tables), 0.1, int(seeds) - 1, int(groups)) < 0.8
    assert found.short.startswith("10 points of pass@1 are seen with 80% power by")


def test_the_page_of_a_sweep_with_a_pilot_has_the_answer(tmp_path: Path) -> None:
    page = write_sweep_report(open_sweep(pilot(tmp_path / "two", 2)), tmp_path / "a")[0].read_text(encoding="utf-8")
    assert "3 points of pass@1 are seen with 80% power by" in page
    page = write_sweep_report(open_sweep(pilot(tmp_path / "one", 1)), tmp_path / "b")[0].read_text(encoding="utf-8")
    assert "Not known: the pilot has no arm with two seeds in common with the baseline" in page


def test_a_sweep_says_before_it_starts_what_its_finished_trials_tell(tmp_path: Path) -> None:
    def planned(path: str) -> Any:
        return SimpleNamespace(folder=Path(path), seeds=(0, 1, 2, 3))

    told = foresight(planned(pilot(tmp_path / "two", 2)))
    assert told.startswith("power: 3 points of pass@1 are seen with 80% power by")
    assert "this sweep has 4 (pilot: 1 arms against a, up to 2 seeds" in told
    told = foresight(planned(pilot(tmp_path / "one", 1)))
    assert "not known before two seeds" in told and "this sweep has 4 an arm" in told


def test_trials_that_cannot_be_read_are_told_as_what_they_are_before_a_sweep_starts(tmp_path: Path) -> None:
    folder = Path(pilot(tmp_path, 2))
    (folder / "trials.json").write_text("{")
    told = foresight(cast(Any, SimpleNamespace(folder=folder, seeds=(0, 1))))
    assert told.startswith("power: not known: ") and "trials.json" in told and "two seeds" not in told
