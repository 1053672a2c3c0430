"""A sweep's settings and data before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.sweep.validation import validate, validate_apart
from tests.sweep.conftest import LOSS, Load

LENGTHS = {"key": "tune.data.max_length", "values": {"enough": 64, "short": 5}}
IDLE = "tune.model.num_sample_tokens has no effect: the loss asks for no sample tokens."


def test_data_that_does_not_fit_one_arm_is_told_before_the_first_runs(
    write_sweep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_sweep({"axes": {"length": LENGTHS}, "until": "tune"}))
    for dry in ([], ["--dry-run"]):
        assert main(["sweep", path, *dry]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("domino: trial length=short,seed=0: split reference: row ")
        assert "more than tune.data.max_length 5" in said.err and said.err.count("\n") == 1
        assert "length=enough" not in said.out
    assert not (tmp_path / "outputs").exists()


def test_what_has_no_effect_is_noted_with_the_arms_that_it_holds_for(load: Load) -> None:
    sampled = {"tune": {"model": {"num_sample_tokens": 2}}}
    notes = validate(load({"axes": {"loss": LOSS}, "until": "tune", "seeds": [0, 1]}, experiment=sampled))
    assert f"{IDLE} (in 1 of 2 arms, the first: loss=likelihood)" in notes
    assert validate_apart(load({"axes": {"loss": LOSS}, "until": "tune"}, experiment=sampled)) == notes
    values = {"low": 0.1, "high": 0.2}
    both = {"axes": {"rate": {"key": "tune.model.learning_rate", "values": values}}, "until": "tune"}
    plain = {"tune": {"model": {"num_sample_tokens": 2, "loss": LOSS["values"]["likelihood"]}}}
    assert f"{IDLE} (in every arm)" in validate(load(both, experiment=plain))


def test_stages_that_the_sweep_does_not_reach_are_not_looked_at(load: Load) -> None:
    assert validate(load({"axes": {"length": {**LENGTHS, "values": [5]}}, "until": "prepare"})) == []


def test_one_trial_of_each_arm_is_looked_at_and_every_split_made_once(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_lightning.planning import ahead
    from domino_lightning.stages.prepare import Prepare

    looked: list[str] = []
    real, split = ahead.Ahead.notes, Prepare.splits
    monkeypatch.setattr(ahead.Ahead, "notes", lambda self: looked.append("arm") or real(self))
    monkeypatch.setattr(Prepare, "splits", lambda self, **how: looked.append("split") or split(self, **how))
    validate(load({"axes": {"loss": LOSS}, "until": "tune", "seeds": [0, 1, 2]}))
    assert looked == ["split", "arm", "arm"]


def test_what_a_forks_own_code_prints_is_no_note(load: Load, tmp_path: Path) -> None:
    (tmp_path / "own_loss.py").write_text(
        "import atexit\nfrom domino_lightning.losses import LikelihoodOnly\nprint('[hello]')\n"
        "atexit.register(print, 'bye')\nclass Own(LikelihoodOnly): ...\n"
    )
    own = {"key": "tune.model.loss", "values": {"own": {"class_path": "own_loss.Own"}}}
    assert isinstance(validate_apart(load({"axes": {"loss": own}, "until": "tune"})), list)


def test_arms_that_read_no_data_are_looked_at_like_any_other(load: Load) -> None:
    source = {"key": "finetune.source", "values": ["none", "reference"]}
    (note,) = validate_apart(load({"axes": {"source": source}, "until": "finetune"}))
    assert note.startswith("finetune.model.warmup_steps 3") and note.endswith("the first: source=reference)")


def test_arms_that_cannot_differ_and_seeds_that_reach_nothing_are_told(
    write_sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    samples = {"key": "tune.runtime.samples", "values": [2, 4]}  # what is shown, not what is trained
    path = str(write_sweep({"axes": {"samples": samples}, "until": "tune", "seeds": [0, 1], "set": {"tune.seed": 0}}))
    assert main(["sweep", path, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "note: arms samples=2 and samples=4 have the same stages: what they vary has no effect" in said
    assert "note: the seed has no effect: every arm has the same stages under all seeds" in said
    path = str(write_sweep({"axes": {"loss": LOSS}, "until": "tune", "seeds": [0, 1]}))
    assert main(["sweep", path, "--dry-run"]) == 0
    assert "same stages" not in capsys.readouterr().out


def test_an_axis_that_is_undone_by_a_later_one_is_told(
    write_sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    weight = {"key": "tune.model.loss.init_args.weight", "values": [0.1, 0.9]}
    margin = {"key": "tune.model.loss", "values": {"margin": {"class_path": "domino_lightning.losses.Margin"}}}
    path = str(write_sweep({"axes": {"weight": weight, "loss": margin}, "until": "tune"}))
    assert main(["sweep", path, "--dry-run"]) == 0
    told = "arms weight=0.1,loss=margin and weight=0.9,loss=margin have the same stages"
    assert told in capsys.readouterr().out


def test_the_message_of_a_process_apart_is_the_same(load: Load) -> None:
    sweep = load({"axes": {"length": LENGTHS}, "until": "tune"})
    with pytest.raises(UserError) as here:
        validate(sweep)
    with pytest.raises(UserError) as apart:
        validate_apart(sweep)
    assert str(here.value) == str(apart.value)
