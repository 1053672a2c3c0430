"""Bad input of every kind, given to commands: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from tests.conftest import refused

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def one_bad_line(folder: Path) -> None:
    (folder / "data.jsonl").write_text((folder / "data.jsonl").read_text() + '{"code": \n')


def no_rows(folder: Path) -> None:
    (folder / "data.jsonl").write_text("\n")


def no_file(folder: Path) -> None:
    (folder / "data.jsonl").unlink()


def wrong_output(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    rows[0]["output"] = "'something else'"
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def nothing(folder: Path) -> None:
    pass


CASES: list[tuple[Callable[[Path], None], list[str], str]] = [
    (no_file, [], "data.jsonl': no such file"),
    (one_bad_line, [], "data.jsonl, line 19: not JSON"),
    (no_rows, [], "has no rows"),
    (nothing, ["prepare.split.test=0"], "leaves 0 of 9 distinct groups for test"),
    (nothing, ["prepare.split.heldout=6"], "leaves 0 of 9 distinct groups for test"),
    (nothing, ["prepare.split.reference=9"], "leaves 0 of 9 distinct groups for test"),
    (nothing, ["prepare.split.reference=null"], "only one split may be null"),
    (nothing, ["prepare.source.path=missing.jsonl"], "prepare.source.path: 'missing.jsonl': no such file"),
    (nothing, ["backbone=./missing"], "tune.model.backbone: './missing': no such directory"),
    (nothing, ["prepare.splits.test=1"], "unknown key 'prepare.splits'. Did you mean 'split'?"),
    (nothing, ["prepare"], "override 'prepare': expected dotted.key=value"),
    (nothing, ["tune=null"], "expected a mapping of keys, got None"),
    (nothing, ["finetune.source=[a]"], "finetune.source"),
    (nothing, ["synthesize.generator=null"], "synthesize.generator"),
    (nothing, ["synthesize.generator.init_args=null"], "synthesize.generator: None names no class"),
]
# What model and data refuse is told before any stage runs.
VALUES = [
    ("tune.data.batch_size=0", "tune.data: batch_size 0 must be from 1 to 1000000"),
    ("tune.model.num_sample_tokens=0", "tune.model.num_sample_tokens: 0, but the loss needs 1 or more"),
    ("tune.model.pair_micro_batch=0", "tune.model: pair_micro_batch 0 must be 1 or more"),
    ("tune.trainer.devices=3", "data.batch_size 2 counts the rows of all ranks and cannot be shared by 3"),
    ("finetune.data.batch_size=0", "finetune.data: batch_size 0 must be from 1 to 1000000"),
    ("finetune.trainer.num_nodes=4", "trainer.num_nodes"),
    ("seed=-1", "override 'seed=-1': key 'tune.seed': -1 must be from 0 to 4294967295"),
    ("prepare.seed=-1", "key 'prepare.seed': -1 must be from 0"),
    ("tune.model.loss=Foo", "'Foo' names no module. Give the dotted name of a class, such as domino_lightning.losses"),
]


@pytest.mark.parametrize(
    ("command", "damage", "overrides", "words"),
    [*(("run", *case) for case in CASES), *(("check", *case) for case in CASES[:4])],
)
def test_bad_input_is_one_line_and_exit_code_2(
    write_experiment: Write,
    tmp_path: Path,
    capsys: Capture,
    command: str,
    damage: Callable[[Path], None],
    overrides: list[str],
    words: str,
) -> None:
    path = write_experiment()
    damage(tmp_path)
    assert words in refused(capsys, command, path, *overrides)
    assert list((tmp_path / "outputs").glob("stages/*/[!.]*")) == []


def test_a_sweep_in_place_of_an_experiment_is_told_with_the_command(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("experiment: experiment.yaml\naxes: {}\n")
    for command in ("run", "check", "tune"):
        assert refused(capsys, command, path) == (
            f"{path}: is a sweep, not an experiment. `domino sweep {path}` checks and runs it."
        )


def test_reference_longer_than_max_length_is_told_by_check(write_experiment: Write, capsys: Capture) -> None:
    message = refused(capsys, "check", write_experiment(), "tune.data.max_length=10")
    assert "more than tune.data.max_length 10" in message
    assert "tune.data.too_long=truncate" in message


def test_run_says_what_check_says_before_its_first_stage(
    write_experiment: Write, tmp_path: Path, capsys: Capture
) -> None:
    path = write_experiment()
    for command in ("check", "run"):
        assert "more than tune.data.max_length 10" in refused(capsys, command, path, "tune.data.max_length=10")
    assert not (tmp_path / "outputs").exists()
    assert main(["run", str(path), "--until", "prepare", "tune.data.max_length=10"]) == 0  # which is not about tune
    assert "more than tune.data.max_length 10" in refused(capsys, "tune", path, "tune.data.max_length=10")
    assert not (tmp_path / "outputs/stages/tune").exists()
    idle = ["tune.model.loss.class_path=domino_lightning.losses.LikelihoodOnly", "tune.model.num_sample_tokens=2"]
    assert main(["run", str(path), "--until", "tune", *idle]) == 0
    assert "note: tune.model.num_sample_tokens has no effect" in capsys.readouterr().out
    assert main(["run", str(path), "--until", "tune", *idle]) == 0  # nothing is left to look at
    assert "note:" not in capsys.readouterr().out


def test_output_that_execution_does_not_confirm_is_told(
    write_experiment: Write, tmp_path: Path, capsys: Capture
) -> None:
    path = write_experiment()
    wrong_output(tmp_path)
    message = refused(capsys, "prepare", path)
    assert "row 'fn-0-0' output says 'something else', execution says 7" in message
    assert "--skip-bad-lines" in message
    assert main(["check", str(path), "--skip-bad-lines"]) == 0
    assert main(["prepare", str(path), "--skip-bad-lines"]) == 0
    capsys.readouterr()
    assert main(["prepare", str(path), "prepare.runtime.skip_bad_lines=true"]) == 0  # the same stage
    assert "finished before" in capsys.readouterr().out


def test_a_typo_in_a_section_that_the_run_does_not_need_is_told_too(write_experiment: Write, capsys: Capture) -> None:
    message = refused(capsys, "run", write_experiment(), "finetune.source=none", "curate.filterz=[]")
    assert message.endswith("unknown key 'curate.filterz'. Did you mean 'filters'?")


@pytest.mark.parametrize(("override", "words"), VALUES)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_value_out_of_range_is_told_before_any_stage_runs(
    write_experiment: Write, tmp_path: Path, capsys: Capture, command: str, override: str, words: str
) -> None:
    assert words in refused(capsys, command, write_experiment(), override)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("command", ["run", "prepare"])
def test_a_store_that_cannot_be_written_is_told(write_experiment: Write, capsys: Capture, command: str) -> None:
    path = write_experiment()
    message = refused(capsys, command, path, f"root={path}/inside")
    assert message == f"root: '{path}/inside' cannot be written to (Not a directory). Name another directory: root=..."


def test_a_license_that_the_hub_does_not_know_is_told_by_check(write_experiment: Write, capsys: Capture) -> None:
    path = write_experiment({"answer": {"card": {"backbone_license": "llama-3"}}})
    said = refused(capsys, "check", path)
    assert said.startswith("answer.card.backbone_license: the hub knows no license 'llama-3'. Did you mean 'llama3'?")
