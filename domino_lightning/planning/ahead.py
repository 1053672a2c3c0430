"""A look ahead at a whole experiment: its data, what it would end with, what has no effect, what is out of reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from domino_lightning.config.document import Config
from domino_lightning.errors import Unreachable
from domino_lightning.runner.pipeline import build, needed_stages
from domino_lightning.stages import STAGES, Stage
from domino_lightning.utils.jsonl import Record

T = TypeVar("T")


class Ahead:
    """What is known of an experiment before a model is loaded.

    Args:
        config: the experiment.
        until: the last stage that is asked about; None: all are, those that this experiment does not need included.
        splits: the rows of `prepare`, if they are known.

    Attributes:
        stages: as their sections describe them.
        splits: the rows of `prepare`; empty where they are out of reach.
        missing: what is out of reach, in words; `reached` adds to it.

    Raises:
        UserError: a bad value, or bad data.
    """

    def __init__(
        self,
        config: Config,
        until: str | None = None,
        splits: Mapping[str, Sequence[Record]] | None = None,
    ) -> None:
        self.config = config
        self.needed = needed_stages(config, until)
        self.stages: dict[str, Stage] = build(config, self.needed if until else STAGES)
        self.missing: list[str] = []
        self._splits = splits

    @property
    def splits(self) -> Mapping[str, Sequence[Record]]:
        """The rows of `prepare`, read once; none where nothing that is asked about reads them."""
        if self._splits is None and "prepare" not in self.stages:
            self._splits = {}
        if self._splits is None:
            prepare: Any = self.stages["prepare"]
            self._splits = self.reached(lambda: prepare.splits(execute=False)) or {}
        return self._splits

    def notes(self) -> list[str]:
        """Settings without effect, of the stages that the experiment needs.

        Raises:
            UserError: what a stage would end with.
        """
        from domino_lightning.planning.foresight import Foresight

        if not self.splits:
            return []
        foresight = Foresight(self.config, self.splits, self.stages)
        found = [self.reached(partial(foresight, stage)) or [] for stage in self.needed]
        return [note for notes in found for note in notes]

    def reached(self, step: Callable[[], T]) -> T | None:
        """What the step gives; None where it needs something out of reach, which is put down in `missing`."""
        try:
            return step()
        except Unreachable as error:
            if str(error) not in self.missing:
                self.missing.append(str(error))
            return None
