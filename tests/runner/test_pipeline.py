"""Plans and their fingerprints, what runs again and what does not, and what failures leave behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.errors import Changed, StageFailed, UserError
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.runner.planned import StageOutcome
from domino_lightning.stages import STAGES
from domino_lightning.store.store import MANIFEST, SCRATCH, Store

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]

# Held-out texts instead of samples: prepare, synthesize, curate and answer run without a model.
REPLAYED = {"class_path": "domino_lightning.synthesis.HeldoutReplay"}
REPLAY = {"synthesize": {"generator": REPLAYED}}

FORK = """
import os, time
from domino_lightning.losses import InfoNCE

class Loss(InfoNCE):
    def forward(self, nll, progress=0.0):
        time.sleep(float(os.environ.get("FORK_SLEEP", 0)))
        if progress >= float(os.environ.get("FORK_DIES_AT", 2)):
            raise RuntimeError("the machine went away")
        return super().forward(nll, progress)
"""


def fingerprints(path: Path, *overrides: str) -> dict[str, str]:
    return {step.stage: step.key.fingerprint for step in make_plan(load_config(path, overrides))}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {stage for stage in before if before[stage] != after.get(stage)}


def run(path: Path, *overrides: str, until: str | None = None, **options: Any) -> list[StageOutcome]:
    config = load_config(path, overrides)
    return run_plan(config, make_plan(config, until), "trial", overrides, in_process=True, **options)


def ran(outcomes: list[StageOutcome]) -> list[str]:
    return [outcome.planned.stage for outcome in outcomes if outcome.ran]


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a loss of its own, outside the package."""
    module = tmp_path / "fork" / "fork_under_test.py"
    module.parent.mkdir()
    module.write_text(FORK)
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{module.parent}")
    monkeypatch.delitem(sys.modules, "fork_under_test", raising=False)
    return module


FORK_LOSS = {"class_path": "fork_under_test.Loss", "init_args": {"pairs": 1}}


def test_all_fingerprints_are_known_before_anything_runs(write_experiment: Write, tmp_path: Path) -> None:
    plan = make_plan(load_config(write_experiment()))
    assert [step.stage for step in plan] == list(STAGES)
    known = {step.stage: step.key.fingerprint for step in plan}
    for step in plan:
        assert step.key.inputs == {stage: known[stage] for stage in step.key.inputs}
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "override",
    [
        "prepare.runtime.workers=7",
        "tune.runtime.checkpoint_every_n_steps=3",
        "finetune.runtime.log_every_n_steps=9",
        "evaluate.runtime.workers=5",
        "tracking.wandb=offline",
        "tracking.project=other",
        "root=elsewhere",
        "name=other",
    ],
)
def test_fingerprints_ignore(write_experiment: Write, override: str) -> None:
    path = write_experiment()
    assert fingerprints(path, override) == fingerprints(path)


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("seed=1", set(STAGES) - {"prepare"}),
        ("prepare.seed=1", set(STAGES)),
        ("prepare.split.reference=2", set(STAGES)),
        ("tune.trainer.max_steps=3", set(STAGES) - {"prepare"}),
        ("synthesize.stop.candidates=9", {"synthesize", "curate", "answer", "finetune", "evaluate"}),
        ("curate.filters=[domino_lightning.curation.Parses]", {"curate", "answer", "finetune", "evaluate"}),
        ("finetune.trainer.max_steps=3", {"finetune", "evaluate"}),
        ("finetune.model.lora.rank=2", {"finetune", "evaluate"}),
        ("evaluate.max_new_tokens=3", {"evaluate"}),
    ],
)
def test_a_change_reaches_its_stage_and_what_reads_it(write_experiment: Write, override: str, stages: set[str]) -> None:
    path = write_experiment()
    assert changed(fingerprints(path), fingerprints(path, override)) == stages


def test_source_none_leaves_out_what_the_coder_does_not_read(write_experiment: Write) -> None:
    path = write_experiment()
    assert list(fingerprints(path, "finetune.source=none")) == ["prepare", "finetune", "evaluate"]
    assert list(fingerprints(path, "finetune.source=reference")) == ["prepare", "finetune", "evaluate"]
    assert list(fingerprints(path, "finetune.source=both")) == list(STAGES)


def test_data_is_known_by_content_and_not_by_path(write_experiment: Write, tmp_path: Path) -> None:
    path, data = write_experiment(), tmp_path / "data.jsonl"
    copy = tmp_path / "copy.jsonl"
    shutil.copy(data, copy)
    before = fingerprints(path)
    assert fingerprints(path, f"prepare.source.path={copy}") == before
    data.write_text("\n".join(data.read_text().splitlines()[:-1]))
    assert changed(before, fingerprints(path)) == set(STAGES)


def test_backbone_is_known_by_content_and_not_by_path(
    write_experiment: Write, tiny_backbone: Path, tmp_path: Path
) -> None:
    path, copy = write_experiment(), tmp_path / "copied"
    shutil.copytree(tiny_backbone, copy)
    before = fingerprints(path)
    assert fingerprints(path, f"backbone={copy}") == before
    (copy / "chat_template.jinja").write_text("another")
    assert changed(before, fingerprints(path, f"backbone={copy}")) == set(STAGES) - {"prepare"}


def test_editing_a_forks_loss_changes_tune_and_its_dependents(write_experiment: Write, fork: Path) -> None:
    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}}})
    before = fingerprints(path)
    fork.write_text(FORK + "\n# another idea\n")
    after = fingerprints(path)
    assert changed(before, after) == set(STAGES) - {"prepare"}
    assert fingerprints(path, "tune.model.loss.class_path=domino_lightning.losses.InfoNCE") != after


def test_a_fork_named_by_a_plain_string_is_hashed_too(write_experiment: Write, fork: Path) -> None:
    path = write_experiment()
    before = fingerprints(path, "tune.model.loss=fork_under_test.Loss")
    fork.write_text(FORK + "\n# another idea\n")
    assert "tune" in changed(before, fingerprints(path, "tune.model.loss=fork_under_test.Loss"))


def test_editing_what_a_fork_imports_changes_tune(write_experiment: Write, fork: Path) -> None:
    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}}})
    helper = fork.with_name("fork_helper_under_test.py")
    helper.write_text("SCALE = 1\n")
    fork.write_text("from fork_helper_under_test import SCALE\n" + FORK)
    before = fingerprints(path)
    helper.write_text("SCALE = 2\n")
    assert changed(before, fingerprints(path)) == set(STAGES) - {"prepare"}


ANSWERS = """
from domino_lightning.synthesis import HeldoutReplay

class Replay(HeldoutReplay):
    VALUE = 1
"""


def test_a_source_edited_between_plan_and_run_stores_nothing(write_experiment: Write, fork: Path) -> None:
    fork.write_text(ANSWERS)
    path = write_experiment({"synthesize": {"generator": {"class_path": "fork_under_test.Replay"}}})
    config = load_config(path)
    plan = make_plan(config, "synthesize")
    sys.modules.pop("fork_under_test", None)  # as in a process of its own
    fork.write_text(ANSWERS.replace("1", "2"))
    with pytest.raises(Changed, match=r"synthesize: .*fork_under_test\.py changed after this run was planned"):
        run_plan(config, plan, "trial", (), in_process=True)
    assert not (path.parent / "outputs/stages/synthesize").exists()
    fork.write_text(ANSWERS)
    sys.modules.pop("fork_under_test", None)
    outcome = run_plan(config, plan, "trial", (), in_process=True)[-1]
    manifest = json.loads((outcome.directory / MANIFEST).read_text())
    assert manifest["sources"] == {"fork_under_test": hashlib.sha256(ANSWERS.encode()).hexdigest()}


def test_data_edited_between_plan_and_run_stores_nothing(write_experiment: Write, tmp_path: Path) -> None:
    path, data = write_experiment(REPLAY), tmp_path / "data.jsonl"
    config = load_config(path)
    plan, text = make_plan(config, "prepare"), data.read_text()
    data.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(Changed, match=r"prepare\.source\.path: '.*data\.jsonl' changed after this run was planned"):
        run_plan(config, plan, "trial", (), in_process=True)
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []
    data.write_text(text)
    outcome = run_plan(config, plan, "trial", (), in_process=True)[0]
    manifest = json.loads((outcome.directory / MANIFEST).read_text())
    assert manifest["contents"] == {"source.path": hashlib.sha256(text.encode()).hexdigest()}


def test_data_edited_while_it_is_read_stores_nothing(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_lightning.stages.prepare import Prepare

    read = Prepare.splits

    def edited(self: Prepare, execute: bool = True) -> Any:
        splits = read(self, execute)
        (tmp_path / "data.jsonl").write_text("{}")
        return splits

    monkeypatch.setattr(Prepare, "splits", edited)
    with pytest.raises(Changed, match="prepare.source.path"):
        run(write_experiment(REPLAY), until="prepare")
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []


def test_a_backbone_that_changed_under_a_coder_is_refused(
    write_experiment: Write, tiny_backbone: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_backbone, tmp_path / "copied"))
    path = write_experiment({"backbone": str(copy), "finetune": {"source": "none"}})
    config = load_config(path)
    plan = make_plan(config)
    run_plan(config, plan[:2], "trial", (), in_process=True)
    (copy / "chat_template.jinja").write_text("another")
    with pytest.raises(UserError, match=r"coder\.json: made on backbone '.*copied', which has changed since"):
        run_plan(config, plan, "trial", (), in_process=True)


def test_a_module_that_is_not_found_is_told_at_once(write_experiment: Write) -> None:
    with pytest.raises(UserError, match="module 'no_such_fork' is not found") as caught:
        fingerprints(write_experiment(), "tune.model.loss.class_path=no_such_fork.Loss")
    assert "python -m domino_lightning" in str(caught.value)


def test_a_finished_stage_never_runs_again(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    stages = ["prepare", "synthesize", "curate", "answer"]
    assert ran(run(path, until="answer")) == stages
    assert ran(run(path, until="answer")) == []
    assert ran(run(path, "answer.runtime.workers=1", "name=other", until="answer")) == []
    assert ran(run(path, "curate.filters=[domino_lightning.curation.Parses]", until="answer")) == stages[2:]
    assert ran(run(path, until="answer", force=["curate"])) == ["curate"]


def test_finetune_changes_rerun_finetune_and_evaluate_alone(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    run(path, "finetune.source=none", until="evaluate")
    assert ran(run(path, "finetune.source=none", "finetune.seed=5", until="evaluate")) == [
        "finetune",
        "evaluate",
    ]


def test_a_stage_without_manifest_runs_again(write_experiment: Write) -> None:
    path = write_experiment(REPLAY)
    curate = run(path, until="curate")[-1]
    (curate.directory / MANIFEST).unlink()
    assert ran(run(path, until="curate")) == ["curate"]
    assert (curate.directory / MANIFEST).is_file()


def test_trial_record_says_what_ran_and_links_resolve(write_experiment: Write, tmp_path: Path) -> None:
    outcomes = run(write_experiment(REPLAY), "curate.filters=[domino_lightning.curation.Parses]", until="curate")
    folder = tmp_path / "outputs/runs/small/trial"
    record = json.loads((folder / "trial.json").read_text())
    assert record["status"] == "finished"
    assert record["overrides"] == ["curate.filters=[domino_lightning.curation.Parses]"]
    for outcome in outcomes:
        assert record["stages"][outcome.planned.stage] == outcome.directory.name
        assert (folder / outcome.planned.stage).resolve() == outcome.directory.resolve()


def test_tampered_input_stops_its_reader(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    prepare = run(path, until="prepare")[0]
    (prepare.directory / "reference.jsonl").write_text("{}\n")
    with pytest.raises(StageFailed, match=r"reference\.jsonl has changed since"):
        run(path, until="curate")
    record = json.loads((tmp_path / "outputs/runs/small/trial/trial.json").read_text())
    assert record["status"] == "failed"
    assert "has changed since" in record["error"]
    assert ran(run(path, until="curate", force=["prepare"]))[0] == "prepare"


def test_what_ctrl_c_ends_is_interrupted(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_lightning.stages.prepare import Prepare

    def interrupted(self: Prepare, execute: bool = True) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Prepare, "splits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(write_experiment(REPLAY), until="prepare")
    record = json.loads((tmp_path / "outputs/runs/small/trial/trial.json").read_text())
    assert record["status"] == "interrupted"
    assert "error" not in record


@pytest.mark.parametrize("content", ["", '{"outputs": {'], ids=["empty", "cut off"])
def test_a_damaged_manifest_makes_the_stage_run_again_with_a_word(write_experiment: Write, content: str) -> None:
    path = write_experiment(REPLAY)
    prepare = run(path, until="prepare")[0]
    (prepare.directory / MANIFEST).write_text(content)
    told: list[str] = []
    assert ran(run(path, until="prepare", announce=told.append)) == ["prepare"]
    assert "its manifest is damaged, so the stage is run again" in told[0]


@pytest.mark.parametrize(
    ("name", "directory", "words"),
    [
        ("stages", False, "stages"),
        ("stages/prepare", False, "prepare"),
        ("runs", False, "runs"),
        ("runs/small/trial/trial.json", True, "trial.json"),
        ("runs/small/trial/.lock", True, ".lock"),
    ],
)
def test_what_lies_in_the_way_is_one_line(
    write_experiment: Write, tmp_path: Path, name: str, directory: bool, words: str
) -> None:
    path, place = write_experiment(REPLAY), tmp_path / "outputs" / name
    place.parent.mkdir(parents=True)
    place.mkdir() if directory else place.write_text("")
    with pytest.raises((StageFailed, UserError), match=rf"outputs.*{words}: .*(Move it away|Remove)"):
        run(path, until="prepare")


def test_a_full_disk_is_one_line(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from domino_lightning.stages.prepare import Prepare

    def full(self: Prepare, work: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Prepare, "run", full)
    assert main(["run", str(write_experiment(REPLAY)), "--until", "prepare"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"domino: {tmp_path / 'outputs'}: the disk is full. Free space, and give the same command")
    record = json.loads((tmp_path / "outputs/runs/small/default/trial.json").read_text())
    assert (record["status"], "the disk is full" in record["error"]) == ("failed", True)


def test_refused_input_leaves_no_stage_directory(write_experiment: Write, tmp_path: Path) -> None:
    path = write_experiment(REPLAY)
    (tmp_path / "data.jsonl").write_text('{"code": "def f(): pass"}\n')
    with pytest.raises(UserError, match="'input' must be a string"):
        run(path, until="prepare")
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []


def test_a_checkpoint_never_overrides_the_configuration(
    write_experiment: Write, fork: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run is continued with another logging cadence: the new one is used, the old steps stay."""
    import torch

    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}, "trainer": {"max_steps": 8}}})
    quiet = ["tune.trainer.val_check_interval=2"]
    monkeypatch.setenv("FORK_DIES_AT", "0.5")  # at step 4 of 8
    with pytest.raises(RuntimeError, match="went away"):
        run(path, *quiet, "tune.runtime.log_every_n_steps=1", until="tune")
    (tune,) = [step for step in make_plan(load_config(path, quiet)) if step.stage == "tune"]
    directory = Store(path.parent / "outputs").path("tune", tune.key.fingerprint)
    checkpoint = torch.load(directory / SCRATCH / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert "hyper_parameters" not in checkpoint
    assert "datamodule_hyper_parameters" not in checkpoint

    monkeypatch.setenv("FORK_DIES_AT", "2")
    outcomes = run(path, *quiet, "tune.runtime.log_every_n_steps=3", until="tune")
    assert outcomes[-1].directory == directory
    rows = [line.split(",") for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    logged = [int(step) for step, key, _ in rows if key == "tune/train/loss"]
    assert logged == [1, 2, 3, 4, 6]  # every step, then the multiples of three
    assert not (directory / SCRATCH).exists()


@pytest.mark.slow
def test_bad_data_found_by_the_training_process_is_one_line(
    write_experiment: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_experiment())
    assert main(["prepare", path]) == 0
    capsys.readouterr()
    assert main(["tune", path, "tune.data.max_length=10"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("domino: ")
    assert "more than tune.data.max_length 10" in error
    assert "\n" not in error
    assert [each.name for each in (tmp_path / "outputs/stages/tune").glob("[!.]*")] == []


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_killed_training_takes_its_process_along_and_the_same_command_finishes(
    write_experiment: Write, fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_experiment({"tune": {"model": {"loss": FORK_LOSS}, "trainer": {"max_steps": 6}}}))
    assert main(["prepare", path]) == 0
    (digest,) = [step.key.fingerprint for step in make_plan(load_config(path)) if step.stage == "tune"]
    directory = Path(path).parent / "outputs/stages/tune" / digest
    parent = subprocess.Popen(
        [sys.executable, "-m", "domino_lightning", "tune", path],
        env={**os.environ, "FORK_SLEEP": "0.5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: parent.poll() is not None or (directory / SCRATCH / "last.ckpt").exists())
    (child,) = children(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(child), seconds=20)
    assert not (directory / MANIFEST).exists()

    capsys.readouterr()
    assert main(["tune", path]) == 0
    assert f"{digest}  continuing" in capsys.readouterr().out
    rows = [line.split(",") for line in (directory / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(step) for step, key, _ in rows if key == "tune/train/loss"] == list(range(1, 7))
    Store(Path(path).parent / "outputs").verified("tune", digest)
