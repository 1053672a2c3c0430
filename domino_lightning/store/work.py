"""What a running stage is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import StageFailed
from domino_lightning.store.store import SCRATCH

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """What a running stage is given: its directory, what it reads, who it is."""

    directory: Path
    inputs: Mapping[str, Path]  # stage name → finished directory
    fingerprint: str
    section: Section  # the literal section, for logs
    tracking: Tracking = field(default_factory=Tracking)
    run: Any = None  # the W&B run of this stage, if there is one
    contents: Mapping[str, Any] = field(default_factory=dict)  # hashes that the fingerprint covers, as in StageKey
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """A directory for checkpoints; removed when the stage finishes."""
        path = self.directory / SCRATCH
        path.mkdir(exist_ok=True)
        return path

    def input(self, stage: str, name: str) -> Path:
        """A file of a stage that this one reads.

        Raises:
            StageFailed: the stage is not among the inputs, or has no such file.
        """
        if stage not in self.inputs:
            raise StageFailed(f"stage {stage} is not among the inputs: {', '.join(self.inputs) or 'none'}.")
        path = self.inputs[stage] / name
        if not path.exists():
            raise StageFailed(f"{path}: expected from stage {stage}, but it is not there.")
        return path
