"""Open a trial or a sweep from Python, finished or running: configuration, numbers, texts, soft prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.errors import UserError
from domino_lightning.stages import stage_class
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl

if TYPE_CHECKING:
    import pandas

    from domino_lightning.config.tracking import Tracking
    from domino_lightning.results.soft_prompt import SoftPrompt


class Run:
    """One trial of an experiment.

    Attributes:
        path: the trial's directory, `<root>/runs/<experiment>/<trial>`.
        trial: content of `trial.json`.
        config: the resolved document.
    """

    def __init__(self, path: Path) -> None:
        import yaml

        self.path = path
        self.trial: Record = read_json(path / "trial.json")
        self.config: dict[str, Any] = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))

    def stage(self, name: str) -> Path:
        """The directory of a stage.

        Raises:
            UserError: the trial has no such stage, or it has not been reached.
        """
        folder = self.path / name
        if not folder.is_dir():
            raise UserError(f"{self.path}: no stage '{name}' here; there are {', '.join(self.trial['stages'])}.")
        return folder

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Final numbers of all stages, by `<stage>/<split>/<name>`."""
        return {
            key: value
            for name in self.trial["stages"]
            if (self.path / name).is_dir()
            for key, value in stage_class(name).metrics(self.path / name).items()
        }

    def history(self) -> pandas.DataFrame:
        """Every logged value of the training stages: columns `step`, `key`, `value`."""
        import pandas

        files = [self.path / name / "metrics.csv" for name in self.trial["stages"]]
        frames = [pandas.read_csv(file) for file in files if file.is_file()]
        if not frames:
            return pandas.DataFrame(columns=["step", "key", "value"])
        return pandas.concat(frames).drop_duplicates(["step", "key"], keep="last", ignore_index=True)

    def rows(self, stage: str, name: str) -> list[Record]:
        """The rows of a stage's JSON Lines file, for example `rows("answer", "answered.jsonl")`."""
        return read_jsonl(self.stage(stage) / name)

    def tracking(self, group: str) -> Tracking | None:
        """Where this trial is logged, for a W&B run of `group` beside it; None where it is not."""
        from domino_lightning.config.tracking import Tracking

        section = self.config.get("tracking") or {}
        if section.get("wandb", "disabled") == "disabled":
            return None
        return Tracking(**section, group=group, root=str(self.path.parent.parent.parent))

    def soft_prompt(self) -> SoftPrompt:
        """The tuned soft prompt with its backbone loaded; `soft_prompt().generate(8)` samples it."""
        from domino_lightning.results.soft_prompt import SoftPrompt

        return SoftPrompt.load(self.stage("tune"))


def axis_value(record: Mapping[str, Any], axis: str) -> Any:
    """A trial's number on an axis of its sweep, or its label; None where the axis does not apply."""
    value = record["values"].get(axis)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number else record["axes"].get(axis)


def open_run(path: str | Path) -> Run:
    """Open a trial directory.

    Raises:
        UserError: there is no trial at the path.
    """
    folder = Path(path)
    if not (folder / "trial.json").is_file():
        raise UserError(f"{folder}: no trial.json here. Name <root>/runs/<experiment>/<trial>; `domino ls` lists them.")
    return Run(folder)
