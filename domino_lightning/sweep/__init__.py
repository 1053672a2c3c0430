"""Sweeps: an experiment varied along axes, its distinct stages scheduled as one graph."""

from __future__ import annotations

from domino_lightning.sweep.axes import Axis
from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task
from domino_lightning.sweep.launchers.cluster.launcher import ClusterLauncher
from domino_lightning.sweep.launchers.cluster.pools import Pool
from domino_lightning.sweep.launchers.cluster.ray import RayLauncher
from domino_lightning.sweep.launchers.cluster.slurm import SlurmLauncher
from domino_lightning.sweep.launchers.in_process import InProcessLauncher
from domino_lightning.sweep.launchers.local import LocalLauncher
from domino_lightning.sweep.spec import Sweep, Trial, load_sweep

__all__ = [
    "Axis",
    "ClusterLauncher",
    "InProcessLauncher",
    "Launcher",
    "LocalLauncher",
    "Place",
    "Pool",
    "RayLauncher",
    "Report",
    "SlurmLauncher",
    "Sweep",
    "Task",
    "Trial",
    "load_sweep",
]
