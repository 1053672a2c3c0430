"""`domino diff`: what two trials, or two stages, do not share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.results.diff import compare, flattened, read_side

REPLAY = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}


@pytest.fixture
def trials(write_experiment: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Two trials that differ in a filter, run as far as `curate`."""
    path = str(write_experiment(REPLAY))
    for name, filters in (("all", "[domino_lightning.curation.ExactDuplicate]"), ("none", "[]")):
        assert main(["run", path, f"curate.filters={filters}", "--until", "curate", "--trial", name]) == 0
    runs = tmp_path / "outputs/runs/small"
    return runs / "all", runs / "none"


def test_trials_differ_in_the_keys_and_stages_that_were_changed(trials: tuple[Path, Path]) -> None:
    found = compare(*map(read_side, trials))
    assert [(key, other) for key, _, other in found.keys] == [("curate.filters", [])]
    assert {stage: one == other for stage, one, other in found.stages} == {
        "prepare": True,
        "synthesize": True,
        "curate": False,
    }
    numbers = {name: (one, other) for name, one, other in found.metrics}
    assert numbers["prepare/test/rows"] == (6, 6)
    assert numbers["curate/accepted/rows"] == (6, 8)


def test_stages_are_compared_with_all_they_rest_on(trials: tuple[Path, Path]) -> None:
    found = compare(*(read_side(trial / "curate") for trial in trials))
    assert [key for key, _, _ in found.keys] == ["curate.filters"]
    assert [stage for stage, _, _ in found.stages] == ["prepare", "synthesize", "curate"]
    assert all(name.startswith("curate/") for name, _, _ in found.metrics)


def test_a_trial_does_not_differ_from_itself(trials: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diff", str(trials[0]), str(trials[0])]) == 0
    out = capsys.readouterr().out
    assert "no key differs" in out
    assert out.count("shared") == 3


def test_the_command_prints_both_sides(trials: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diff", *map(str, trials)]) == 0
    out = capsys.readouterr().out
    assert "curate.filters" in out
    assert out.count("shared") == 2


def test_what_is_neither_trial_nor_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a trial"):
        read_side(tmp_path)


def test_flattening_keeps_lists_and_empty_mappings_whole() -> None:
    assert dict(flattened({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None})) == {
        "a.b": [1, {"c": 2}],
        "a.d": {},
        "e": None,
    }
