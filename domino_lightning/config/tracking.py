"""Where a run is tracked besides CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tracking:
    """Where a stage's metrics go besides CSV: the W&B mode, entity, project, group and tags of the run."""

    wandb: str = "disabled"  # online, offline or disabled
    project: str = "domino_lightning"
    entity: str = ""  # a team; empty: W&B's default
    system: str = "auto"  # load of the machine, console and code: auto (where the run is online), always or never
    group: str = "experiment"
    root: str = "."
    tags: Sequence[str] = ()  # of the sweeps and arms that a stage is of
