"""What a stage is: one section of the experiment, one typed class, one directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from domino_lightning.errors import StageFailed
from domino_lightning.store.store import SCRATCH

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Tracking:
    """Where a stage's metrics go besides CSV: the W&B mode, entity, project and group of the run."""

    wandb: str = "disabled"  # online, offline or disabled
    project: str = "domino_lightning"
    entity: str = ""  # a team; empty: W&B's default
    group: str = "experiment"
    root: str = "."


@dataclass(frozen=True)
class Work:
    """What a running stage is given: its directory, what it reads, who it is."""

    directory: Path
    inputs: Mapping[str, Path]  # stage name → finished directory
    fingerprint: str
    section: Section  # the literal section, for logs
    tracking: Tracking = field(default_factory=Tracking)
    run: Any = None  # the W&B run of this stage, if there is one

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


class Stage(ABC):
    """One section of an experiment; its constructor's typed arguments are the section's keys.

    Class attributes:
        name: section, subcommand and directory.
        version: part of the fingerprint; raised when a change of code changes results.
        summary: one line for --help.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]

    @classmethod
    def parser(cls) -> Any:
        """A jsonargparse parser of the section, which raises instead of exiting."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, None)
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """Whether it runs in a process of its own: training does, since DDP children repeat the command line."""
        return False

    @classmethod
    def processes(cls, section: Section) -> int:
        """How many processes of it compute at the same time: the ranks of a DDP run."""
        return 1

    @classmethod
    def devices(cls, section: Section) -> int:
        """Accelerators it uses where there are any: one if the section names a backbone, else none."""
        return int(_names_backbone(section))

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """Names of the stages whose directories this one reads."""
        return ()

    @classmethod
    def identity(cls, section: Section) -> Section:
        """What of the section decides the result; the rest is no part of the fingerprint, and neither is `runtime`."""
        return section

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Dotted keys of the section that name outside content, with its hash.

        Raises:
            UserError: a file or backbone that is not there.
        """
        return {}

    @abstractmethod
    def run(self, work: Work) -> None:
        """Write the stage's files into `work.directory`, continuing what an interrupted run left there."""


def _names_backbone(node: Any) -> bool:
    if isinstance(node, Mapping):
        return "backbone" in node or any(map(_names_backbone, node.values()))
    return isinstance(node, list) and any(map(_names_backbone, node))
