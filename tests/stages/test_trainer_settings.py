"""Which ranks a Trainer takes itself for, and which of its settings are judged without it."""

from __future__ import annotations

import itertools
import sys
import types
from inspect import signature
from typing import Any, get_args

import pytest
import torch
from lightning.fabric.connector import _PRECISION_INPUT_STR
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry

from domino_lightning.errors import UserError
from domino_lightning.stages.trainer_settings import USUAL, check_trainer, is_usual, lacking, with_cluster_environment


def test_a_stage_asks_no_manager_and_starts_no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with mpi4py and without a working MPI, asking ends the process."""

    class Fatal(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise SystemExit("MPI_INIT failed")

    monkeypatch.setitem(sys.modules, "mpi4py", Fatal("mpi4py"))
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    plugins = with_cluster_environment(None)
    assert [type(plugin) for plugin in plugins] == [LightningEnvironment]
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", plugins=plugins, logger=False)
    assert (trainer.world_size, type(trainer._accelerator_connector.cluster_environment)) == (2, LightningEnvironment)


def test_ranks_that_an_agent_started_are_those_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "GROUP_RANK": "1", "RANK": "3", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    (plugin,) = with_cluster_environment([])
    assert isinstance(plugin, TorchElasticEnvironment) and plugin.global_rank() == 3


def test_a_plugin_of_the_users_stays() -> None:
    own = LightningEnvironment()
    assert with_cluster_environment(own) == [own]
    assert with_cluster_environment((own, "more")) == [own, "more"]


USUAL_VALUES: dict[str, list[Any]] = {
    "max_steps": [-1, 1, 300],
    "max_epochs": [None, -1, 3],
    "check_val_every_n_epoch": [None, 1],
    "val_check_interval": [None, 5, 0.5, 1.0],
    "accumulate_grad_batches": [1, 4],
    "gradient_clip_val": [None, 0, 1.0],
    "limit_train_batches": [None, 2, 0.5],
    "limit_val_batches": [0, 1.0],
}


def test_lightning_takes_what_is_judged_without_it() -> None:
    """Each value beside two others of every other key, which is every pair that could contradict."""
    base = {name: values[0] for name, values in USUAL_VALUES.items()} | {"max_steps": 8, "val_check_interval": 4}
    tried = 0
    for name, other in itertools.combinations(USUAL_VALUES, 2):
        for value, beside in itertools.product(USUAL_VALUES[name], USUAL_VALUES[other]):
            section = {**base, name: value, other: beside}
            if is_usual(section):
                Trainer(
                    **section, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                    enable_model_summary=False, plugins=[LightningEnvironment()],
                )  # fmt: skip
                tried += 1
    assert tried > 100
    known = signature(Trainer).parameters
    assert set(USUAL) <= set(known)
    assert {"auto", "cpu", "gpu", "cuda"} <= {"auto", "gpu", *AcceleratorRegistry}
    assert {"auto", "ddp"} <= {"auto", *StrategyRegistry}
    assert {"32-true", "bf16-true", "bf16-mixed", "16-mixed"} <= set(get_args(_PRECISION_INPUT_STR))


@pytest.mark.parametrize(
    "unusual",
    [
        {"detect_anomaly": True},
        {"max_steps": "8"},
        {"max_steps": True},
        {"max_steps": None},
        {"devices": [0]},
        {"accelerator": ["cpu"]},
        {"strategy": {"class_path": "lightning.pytorch.strategies.DDPStrategy"}},
        {"precision": "16-true"},
        {"gradient_clip_val": float("nan")},
        {"check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": None, "val_check_interval": 0.5},
        {"max_stepz": 3},
        None,
        5,
    ],
)
def test_all_else_is_lightnings_affair(unusual: Any) -> None:
    assert not is_usual(unusual)


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"fast_dev_run": True}, "fast_dev_run True must be false"),
        ({"fast_dev_run": 3}, "fast_dev_run 3 must be false"),
        ({"barebones": True}, "barebones True must be false"),
        ({"precision": "transformer-engine-float16"}, "needs the package transformer_engine, which is not installed"),
        ({"strategy": "deepspeed_stage_3"}, "needs the package deepspeed, which is not installed"),
        ({"strategy": "single_xla"}, "needs the package torch_xla, which is not installed"),
        ({"overfit_batches": 1}, "overfit_batches 1 must be 0, since every epoch draws its batches anew"),
        ({"overfit_batches": 0.5}, "there are limit_train_batches and limit_val_batches"),
        ({"strategy": "ddp_notebook"}, "strategy ddp_notebook must be ddp, since what processes of another start"),
        ({"strategy": "ddp_spawn_find_unused_parameters_true"}, "must be ddp"),
        ({"strategy": DDPStrategy(start_method="fork")}, "strategy DDPStrategy with start_method fork must be ddp"),
        ({"accelerator": "cpu", "strategy": "fsdp"}, "strategy fsdp must be auto, ddp or a ModelParallelStrategy"),
        ({"accelerator": "cpu", "precision": "16-mixed"}, "precision 16-mixed must be 32-true, or bf16-mixed"),
        ({"min_steps": 9}, "min_steps 9 is more than max_steps 8"),
        ({"accelerator": "cpu", "devices": -1}, "devices -1 must be a number of processes"),
        ({"accelerator": "cpu", "devices": [0]}, r"devices \[0\] must be a number of processes"),
        ({"devices": 2000}, "devices 2000 must be a number from 1 to 1024"),
        ({"max_steps": 10**22}, "at most 1000000000000"),
    ],
)
def test_what_no_fit_could_mean_is_refused(trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_trainer("tune", {"max_steps": 8, "accelerator": "auto", **trainer})


@pytest.mark.parametrize(
    ("gpus", "trainer", "missing"),
    [
        (0, {"devices": -1}, "devices"),
        (0, {"devices": "0,1"}, "devices"),
        (0, {"devices": [0], "accelerator": "auto"}, "devices"),
        (0, {"devices": 1, "accelerator": "gpu"}, "accelerator"),
        (0, {"devices": 4}, None),
        (0, {"devices": 4, "accelerator": "cpu"}, None),
        (0, {}, None),
        (0, {"strategy": "fsdp_cpu_offload"}, "strategy"),
        (0, {"strategy": {"class_path": "lightning.pytorch.strategies.FSDPStrategy"}}, "strategy"),
        (0, {"strategy": "deepspeed_stage_3", "devices": 2}, "strategy"),
        (0, {"strategy": {"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}}, None),
        (0, {"strategy": "ddp", "precision": "bf16-mixed"}, None),
        (0, {"precision": "16-mixed"}, "precision"),
        (0, {"precision": 16, "accelerator": "cpu"}, "precision"),
        (1, {"precision": "16-mixed", "strategy": "fsdp"}, None),
        (1, {"precision": "16-mixed", "accelerator": "cpu"}, "precision"),
        (2, {"devices": 3}, "devices"),
        (2, {"devices": "3", "accelerator": "cuda"}, "devices"),
        (2, {"devices": [0, 2]}, "devices"),
        (2, {"devices": [0, 1]}, None),
        (2, {"devices": -1, "accelerator": "gpu"}, None),
        (2, {"devices": 4, "accelerator": "cpu"}, None),
    ],
)
def test_devices_that_a_machine_does_not_have_are_missing(
    monkeypatch: pytest.MonkeyPatch, gpus: int, trainer: dict[str, Any], missing: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = lacking(trainer)
    assert (found and found[0]) == missing
