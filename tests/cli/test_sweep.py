"""`domino sweep` as a command: dry runs, launchers by class path, what is checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.cli.sweep import make_launcher
from domino_lightning.cli.sweep_display import failures
from domino_lightning.errors import UserError
from domino_lightning.sweep import InProcessLauncher, LocalLauncher, load_sweep
from domino_lightning.sweep.events import StageState, SweepState, log_file
from domino_lightning.sweep.validation import validate
from tests.sweep.conftest import LOSS, Load

WriteSweep = Callable[..., Path]
REPLAY = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}
CURATE = {
    "until": "curate",
    "axes": {"filters": {"key": "curate.filters", "values": {"none": [], "new": ["domino_lightning.curation.Parses"]}}},
    "seeds": [0, 1],
}


def launcher(load: Load, node: Any) -> Any:
    return make_launcher(load({"launcher": node}))


def test_a_launcher_is_named_by_class_path_and_typed(load: Load) -> None:
    local = launcher(load, {"init_args": {"slots": 3, "gpus": []}})
    assert isinstance(local, LocalLauncher)
    assert local.slots == 3
    assert isinstance(launcher(load, "domino_lightning.sweep.InProcessLauncher"), InProcessLauncher)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"init_args": {"slotz": 3}}, r"unknown key 'launcher\.init_args\.slotz'\. Did you mean 'slots'"),
        ({"init_args": {"slots": "many"}}, r"'launcher\.init_args\.slots': expected int"),
        ("domino_lightning.losses.InfoNCE", "is not a domino_lightning.sweep.Launcher"),
        ("domino_lightning.sweep.Locallauncher", "cannot be imported.*Did you mean"),
    ],
)
def test_a_launcher_that_does_not_fit_is_one_line(load: Load, node: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        launcher(load, node)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dry_run_counts_what_is_left_after_sharing_and_writes_nothing(
    write_sweep: WriteSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_sweep(CURATE, REPLAY))
    assert main(["sweep", path, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 trials (2 arms × 2 seeds): 1 prepare, 2 synthesize, 4 curate; 7 stages instead of 12" in out
    assert "filters=new,seed=1" in out
    assert "baseline: filters=none" in out
    assert not (tmp_path / "outputs").exists()


def test_arms_that_differ_in_their_budget_never_start(
    write_sweep: WriteSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_sweep({"axes": {"tune.trainer.max_steps": [2, 3]}}))
    assert main(["sweep", path]) == 2
    assert "arms differ in their tune budget" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_a_bad_value_in_the_last_arm_is_told_before_the_first_runs(
    write_sweep: WriteSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"block": {"key": "synthesize.block_size", "values": [4, 0]}}
    path = str(write_sweep({"axes": axes, "until": "curate"}, REPLAY))
    assert main(["sweep", path]) == 2
    error = capsys.readouterr().err
    assert error.startswith("domino: trial block=0,seed=0: ")
    assert "block_size 0" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_validation_names_the_trial_and_the_line_of_the_sweep(load: Load) -> None:
    loss = {**LOSS, "values": {**LOSS["values"], "odd": {"class_path": "domino_lightning.losses.InfoNCE",
                                                        "init_args": {"wait": 1}}}}  # fmt: skip
    with pytest.raises(UserError, match=r"trial loss=odd,seed=0: .*mine\.yaml.*wait.*Did you mean 'weight'"):
        validate(load({"axes": {"loss": loss}}))


@pytest.mark.slow
def test_smoke_runs_a_sweep_in_this_process(
    write_sweep: WriteSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(CURATE, REPLAY)
    assert main(["sweep", str(path), "--smoke"]) == 0
    assert "4 of 4 trials finished" in capsys.readouterr().out
    assert (tmp_path / "outputs/smoke/sweeps/mine/trials.json").is_file()
    assert main(["sweep", str(tmp_path / "outputs/smoke/sweeps/mine"), "--status"]) == 0
    assert "not running; its last run: finished" in capsys.readouterr().out


def test_status_of_a_sweep_that_was_never_launched_says_so(
    write_sweep: WriteSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(CURATE, REPLAY)
    assert main(["sweep", str(path), "--status"]) == 2
    assert "has not been launched" in capsys.readouterr().err
    assert load_sweep(path).name == "mine"


def test_an_axis_that_names_a_class_is_where_its_missing_argument_is_missing(load: Load) -> None:
    """Not the line of the experiment or of the defaults that gave another class its arguments."""
    shots = {"class_path": "domino_lightning.synthesis.FewShot", "init_args": {"shots": 2}}
    values = {"replay": "domino_lightning.synthesis.HeldoutReplay", "shots": shots}
    said = r"trial source=shots,seed=0: .*mine\.yaml, line \d+ \(source=shots\): .*init_args\.backbone' is required"
    with pytest.raises(UserError, match=said):
        validate(load({"axes": {"source": {"key": "synthesize.generator", "values": values}}}))


def test_a_failed_stage_is_shown_with_its_log_and_what_can_be_done(tmp_path: Path) -> None:
    key = ("tune", "ab")
    failed = StageState("failed", "no ideas\nfurther lines")
    state = SweepState({key: failed, ("prepare", "aa"): StageState("finished")})
    plans = {"a": [("prepare", "aa"), key]}
    assert failures(plans, state, tmp_path) == [
        "failed: tune ab, for a: no ideas",
        "--retry-failed starts failed stages again.",
    ]
    log = log_file(tmp_path, *key)
    log.parent.mkdir()
    log.write_text("Traceback")
    assert f"  log: {log}" in failures(plans, state, tmp_path)
    state.stages[key] = StageState("finished")
    assert failures(plans, state, tmp_path) == []
