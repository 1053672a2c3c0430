"""Launchers: what starts the stages of a sweep, and where."""

from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task
from domino_lightning.sweep.launchers.cluster.launcher import ClusterLauncher
from domino_lightning.sweep.launchers.cluster.pools import Pool
from domino_lightning.sweep.launchers.cluster.ray import RayLauncher
from domino_lightning.sweep.launchers.cluster.slurm import SlurmLauncher
from domino_lightning.sweep.launchers.in_process import InProcessLauncher
from domino_lightning.sweep.launchers.local import LocalLauncher

__all__ = [
    "ClusterLauncher",
    "InProcessLauncher",
    "Launcher",
    "LocalLauncher",
    "Place",
    "Pool",
    "RayLauncher",
    "Report",
    "SlurmLauncher",
    "Task",
]
