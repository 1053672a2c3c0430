"""Where a run is tracked besides CSV."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tracking:
    """Where a stage's metrics go besides CSV: the W&B mode, entity, project and group of the run."""

    wandb: str = "disabled"  # online, offline or disabled
    project: str = "domino_lightning"
    entity: str = ""  # a team; empty: W&B's default
    group: str = "experiment"
    root: str = "."
