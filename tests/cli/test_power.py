"""`domino power`: what a pilot says of the seeds and problems needed, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.cli.main import main
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
