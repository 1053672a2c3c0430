"""A run killed anywhere and started again ends, bit for bit, as if it had not been interrupted."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch import Tensor

from domino_lightning.callbacks.checkpoint import LAST, ResumableCheckpoint
from domino_lightning.domains import CodeExec
from domino_lightning.modules import Lora, LoraTuningModule
from domino_lightning.stages.finetune import Finetune, FinetuneRuntime
from domino_lightning.stages.tune import Tune, TuneRuntime
from domino_lightning.store.work import Work
from domino_lightning.tracking.metrics_file import MetricsFile, read_metrics, series
from domino_lightning.utils.jsonl import read_json
from tests.modules.stage_runs import SCHEDULES, Result, Run


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


class Kill(Callback):
    """Ends the run at the n-th call of a hook. User callbacks run first: the hook's checkpoint is not written."""

    def __init__(self, hook: str, number: int) -> None:
        self.calls = 0

        def hooked(*_: Any) -> None:
            self.calls += 1
            if self.calls == number:
                raise Killed

        setattr(self, hook, hooked)


@pytest.fixture
def tune_lora(tmp_path: Path, splits: Path, tiny_backbone: Path) -> Run:
    """Runs a tune stage that trains an adapter, in this process; it looks at sampled texts unless told otherwise."""

    def run(name: str, schedule: dict[str, Any], kill: Callback | None = None, look: int = 3) -> Result:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        model = {"backbone": str(tiny_backbone), "learning_rate": 0.02, "lora": Lora(rank=2, dropout=0.2)}
        named = {"class_path": f"{LoraTuningModule.__module__}.LoraTuningModule", "init_args": model}
        trainer = {"accelerator": "cpu", "callbacks": [kill] if kill else [], **schedule}
        data = {"tokenizer": str(tiny_backbone), "batch_size": 2, "max_length": 64}
        runtime = TuneRuntime(2, health_every_n_steps=look, samples_every_n_steps=look, sample_tokens=4)
        Tune(named, data, trainer, runtime, seed=3).run(Work(directory, {"prepare": splits}, "0" * 16, {}))
        said = ("metrics.csv", "samples.jsonl") if look else ()
        return Result(
            load_file(str(directory / "adapter" / "adapter_model.safetensors")),
            "".join((directory / each).read_text() for each in said) + str(read_json(directory / "adapter.json")),
            torch.load(directory / "scratch" / LAST, weights_only=True),
        )

    return run


@pytest.fixture
def finetune(tmp_path: Path, splits: Path, tiny_backbone: Path) -> Run:
    """Runs the finetune stage on the references in this process."""

    def run(name: str, schedule: dict[str, Any], kill: Callback | None = None) -> Result:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        model = {"backbone": str(tiny_backbone), "learning_rate": 0.02, "lora": Lora(rank=2, dropout=0.2)}
        trainer = {"accelerator": "cpu", "callbacks": [kill] if kill else [], **schedule}
        data = {"tokenizer": str(tiny_backbone), "batch_size": 2, "max_length": 2048}
        stage = Finetune(model, data, trainer, CodeExec(), FinetuneRuntime(2), "reference", seed=3)
        stage.run(Work(directory, {"prepare": splits}, "0" * 16, {}))
        return Result(
            load_file(str(directory / "model" / "adapter_model.safetensors")),
            (directory / "metrics.csv").read_text() + str(read_json(directory / "coder.json")),
            torch.load(directory / "scratch" / LAST, weights_only=True),
        )

    return run


def assert_resumes(run: Run, schedule: dict[str, Any], kills: list[tuple[str, int]]) -> None:
    whole = run("whole", schedule)
    for hook, number in kills:
        name = f"{hook}-{number}"
        with pytest.raises(Killed):
            run(name, schedule, Kill(hook, number))
        run(name, schedule).assert_same(whole)


BATCH_START, BATCH_END = "on_train_batch_start", "on_train_batch_end"
VALIDATION_START, VALIDATION_END = "on_validation_start", "on_validation_end"


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_killed_tune_continues_as_if_it_had_not_been_killed(schedule: str, tune: Run) -> None:
    # Validations before the first batch and after batches 3, 6, 9 (or at the ends of epochs 4, 8, 12), checkpoints
    # every second step.
    kills = [(BATCH_END, number) for number in (1, 3, 4, 5, 8)]
    kills += [(BATCH_START, 7), (VALIDATION_START, 3), (VALIDATION_END, 1), (VALIDATION_END, 2)]
    assert_resumes(tune, SCHEDULES[schedule], kills)


@pytest.mark.slow
def test_a_run_killed_again_and_again_still_ends_the_same(tune: Run) -> None:
    schedule = SCHEDULES["steps"]
    whole = tune("whole", schedule)
    # Each attempt dies in its fourth batch, one after its last checkpoint, and is one validation further.
    for _ in range(3):
        with pytest.raises(Killed):
            tune("often", schedule, Kill(BATCH_END, 4))
    tune("often", schedule).assert_same(whole)


@pytest.mark.slow
@pytest.mark.parametrize("saves", [1, 2, 4])
def test_a_kill_right_after_a_checkpoint_loses_no_row_of_the_metrics(
    saves: int, tune: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = SCHEDULES["steps"]
    whole = tune("whole", schedule)
    with monkeypatch.context() as patch:
        save, calls = ResumableCheckpoint._save, []

        def save_then_die(self: ResumableCheckpoint, *args: Any) -> None:
            save(self, *args)
            calls.append(args)
            if len(calls) == saves:
                raise Killed

        patch.setattr(ResumableCheckpoint, "_save", save_then_die)
        with pytest.raises(Killed):
            tune("killed", schedule)
    tune("killed", schedule).assert_same(whole)


@pytest.mark.slow
def test_the_cadence_of_checkpoints_changes_no_result(tune: Run) -> None:
    results = [tune(f"every-{every}", SCHEDULES["steps"], every=every) for every in (1, 5, None)]
    for other in results[1:]:
        other.assert_same(results[0])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["steps", "epoch ends"])
def test_a_killed_coder_continues_as_if_it_had_not_been_killed(schedule: str, finetune: Run) -> None:
    kills = [(BATCH_END, 3), (BATCH_END, 8), (VALIDATION_START, 3), (VALIDATION_END, 1), (VALIDATION_END, 2)]
    assert_resumes(finetune, SCHEDULES[schedule], kills)


@pytest.mark.slow
def test_a_killed_adapter_continues_as_if_it_had_not_been_killed(tune_lora: Run) -> None:
    assert_resumes(tune_lora, SCHEDULES["steps"], [(BATCH_END, 3), (BATCH_END, 8), (VALIDATION_END, 2)])


@pytest.mark.slow
def test_looking_at_texts_changes_no_adapter(tune_lora: Run) -> None:
    schedule = {"max_steps": 3, "limit_val_batches": 0}
    seen, unseen = (tune_lora(f"look-{look}", schedule, look=look) for look in (1, 0))
    assert all(torch.equal(value, unseen.tensors[name]) for name, value in seen.tensors.items())


def test_a_finished_fit_that_lost_only_its_export_does_not_train_again(tune: Run, tmp_path: Path) -> None:
    schedule = {"max_steps": 2, "val_check_interval": 1, "check_val_every_n_epoch": None}
    whole = tune("run", schedule)
    (tmp_path / "run" / "soft_prompt.safetensors").unlink()
    started = Kill(BATCH_START, 1)
    tune("run", schedule, started).assert_same(whole)
    assert started.calls == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [LAST, "best.ckpt"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "one bit"])
def test_a_damaged_checkpoint_starts_the_fit_again_with_a_word(
    tune: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    schedule = {"max_steps": 2, "val_check_interval": 1, "check_val_every_n_epoch": None}
    whole = tune("run", schedule)
    path = tmp_path / "run" / "scratch" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"empty": b"", "cut off": data[: len(data) // 2], "one bit": data}[damage])
    (tmp_path / "run" / "soft_prompt.safetensors").unlink()
    tune("run", schedule).assert_same(whole)
    (told,) = [record.message for record in caplog.records if "damaged" in record.message]
    assert told == f"{path} is damaged, so stage tune starts again from its first step."


def test_the_exported_step_is_the_one_with_the_lowest_heldout_nll(tune: Run, tmp_path: Path) -> None:
    # A rate this high makes later steps worse than some earlier one.
    schedule = {"max_steps": 8, "val_check_interval": 2, "check_val_every_n_epoch": None}
    tune("run", schedule, learning_rate=1.0, warmup_steps=0)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        values = {int(r["step"]): float(r["value"]) for r in csv.DictReader(file) if r["key"] == "tune/heldout/nll"}
    assert sorted(values) == [0, 2, 4, 6, 8]
    del values[0]  # before the first step there is nothing to export
    assert read_json(tmp_path / "run" / "soft_prompt.json")["step"] == min(values, key=values.__getitem__)


def test_held_out_data_is_scored_before_the_first_step_and_steps_count_from_one(
    tune: Run, splits: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    tune("run", {"max_steps": 2, "val_check_interval": 2, "check_val_every_n_epoch": None})
    rows = read_metrics(tmp_path / "run")
    assert [step for step, _ in series(rows, "tune/train/loss")] == [1, 2]
    assert [step for step, _ in series(rows, "tune/train/learning_rate")] == [1, 2]
    (before, untrained), (after, _) = series(rows, "tune/heldout/nll")
    assert (before, after) == (0, 2)
    unmoved = tune("unmoved", {"max_steps": 1, "check_val_every_n_epoch": 1}, learning_rate=0.0)
    assert series(read_metrics(tmp_path / "unmoved"), "tune/heldout/nll")[-1][1] == pytest.approx(untrained)
    assert unmoved.checkpoint["global_step"] == 1


def test_a_validation_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    class Trainer:
        sanity_checking, is_global_zero, global_step = False, True, 1
        callback_metrics: dict[str, Tensor] = {}
        callbacks: list[Any] = []
        fit_loop = type("Loop", (), {"_should_accumulate": staticmethod(lambda: False)})

        def save_checkpoint(self, path: Path) -> None:
            path.write_text("saved")

    checkpoint, trainer = ResumableCheckpoint(tmp_path, 1, "nll"), Trainer()
    for value, best in ((math.nan, None), (2.0, 2.0), (math.nan, 2.0), (3.0, 2.0), (1.0, 1.0)):
        trainer.callback_metrics = {"nll": torch.tensor(value)}
        checkpoint.on_validation_end(trainer, None)  # type: ignore[arg-type]
        assert checkpoint.best == best


@pytest.mark.slow
def test_ctrl_c_during_a_fit_is_a_keyboard_interrupt_and_leaves_the_run_to_be_continued(tune: Run) -> None:
    import signal

    class Interrupt(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    schedule = {"max_steps": 4, "limit_val_batches": 0}
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            tune("run", schedule, Interrupt())
    finally:
        signal.signal(signal.SIGINT, handler)
    tune("run", schedule).assert_same(tune("whole", schedule))


@pytest.mark.slow
def test_what_exits_during_a_fit_is_no_ctrl_c(tune: Run) -> None:
    class Exit(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            raise SystemExit(0)

    with pytest.raises(SystemExit):
        tune("run", {"max_steps": 4, "limit_val_batches": 0}, Exit())


def test_tidy_keeps_the_last_value_of_a_step_done_twice_and_drops_a_torn_row(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.append(10, {"b": 1.0, "a": 2.0})
    metrics.append(9, {"a": 0.1})
    metrics.append(10, {"a": 3.0})
    with open(metrics.path, "a") as file:
        file.write("11,a")
    MetricsFile(metrics.path).tidy()
    assert metrics.path.read_text().split() == ["step,key,value", "9,a,0.1", "10,a,3.0", "10,b,1.0"]
