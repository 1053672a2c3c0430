"""Launchers: what starts the stages of a sweep, and where."""

from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task
from domino_lightning.sweep.launchers.in_process import InProcessLauncher
from domino_lightning.sweep.launchers.local import LocalLauncher

__all__ = ["InProcessLauncher", "Launcher", "LocalLauncher", "Place", "Report", "Task"]
