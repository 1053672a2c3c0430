"""Which ranks a Trainer takes itself for."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch import Trainer

from domino_lightning.stages.trainer_settings import with_cluster_environment


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
