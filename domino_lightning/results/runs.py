"""Open a trial or a sweep from Python, finished or running: configuration, numbers, texts, soft prompt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.config.layers import one_line
from domino_lightning.errors import UserError
from domino_lightning.results.imported import imported_metrics
from domino_lightning.stages import stage_class
from domino_lightning.store.locks import LOCK, is_held
from domino_lightning.store.store import MANIFEST, altered, read_manifest, safe_name
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object

if TYPE_CHECKING:
    import pandas

    from domino_lightning.config.tracking import Tracking
    from domino_lightning.results.soft_prompt import SoftPrompt


log = logging.getLogger(__name__)


def trial_status(path: Path, trial: Mapping[str, Any]) -> str:
    """pending, running, finished, failed or interrupted; a process that was killed could not say the last.

    Args:
        path: the trial's directory.
        trial: content of its `trial.json`.
    """
    status = str(trial.get("status") or "unknown")
    if status != "running":
        return status
    root, sweep = path.absolute().parents[2], trial.get("sweep")
    folder = root / "sweeps" / safe_name(str(sweep)) if sweep else path
    return "running" if is_held(folder / LOCK) else "interrupted"


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
        self.trial: Record = read_object(path / "trial.json")
        texts = [name for name in ("experiment", "trial", "status") if not isinstance(self.trial.get(name), str)]
        if texts or not isinstance(self.trial.get("stages"), dict):
            raise UserError(f"{path / 'trial.json'}: no record of a trial (no {(texts or ['stages'])[0]}).")
        try:
            config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path / 'config.yaml'}: cannot be read ({one_line(error)}).") from None
        if not isinstance(config, dict):
            raise UserError(f"{path / 'config.yaml'}: holds no configuration.")
        self.config: dict[str, Any] = config

    @property
    def status(self) -> str:
        """As `trial_status` has it."""
        return trial_status(self.path, self.trial)

    @cached_property
    def damage(self) -> dict[str, str]:
        """What is wrong with finished stages, by stage: a file that is not what it was, a manifest cut off."""
        found = {}
        for name in self.trial["stages"]:
            folder = self.path / name
            if not (folder / MANIFEST).exists():
                continue
            manifest = read_manifest(folder)
            if manifest is None:
                found[name] = f"{folder / MANIFEST} is damaged"
            elif first := next(altered(folder, manifest), None):
                found[name] = first
        return found

    def stage(self, name: str) -> Path:
        """The directory of a stage.

        Raises:
            UserError: the trial has no such stage, it has not been reached, or its files are not what they were.
        """
        folder = self.path / name
        if not folder.is_dir():
            raise UserError(f"{self.path}: no stage '{name}' here; there are {', '.join(self.trial['stages'])}.")
        if name in self.damage:
            raise UserError(f"{self.damage[name]}. Run it again with --force {name}, or restore the file.")
        return folder

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Final numbers of all stages, by `<stage>/<split>/<name>`.

        Those of a damaged stage are left out, with a warning; `damage` says afterwards which could not be read.
        Those of an imported trial come with it.
        """
        found: dict[str, float] = {}
        for name in reversed(self.trial["stages"]):  # the last may bring numbers of the others
            if not (self.path / name).is_dir():
                continue
            try:
                if name not in self.damage:
                    found |= imported_metrics(self.path / name) | stage_class(name).metrics(self.path / name)
            except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                self.damage[name] = f"{self.path / name} cannot be read ({one_line(error)})"
            if name in self.damage:
                log.warning("%s. Its numbers are left out.", self.damage[name])
        return found

    def history(self) -> pandas.DataFrame:
        """Every logged value of the training stages: columns `step`, `key`, `value`."""
        import pandas

        whole = [name for name in self.trial["stages"] if name not in self.damage]
        files = [self.path / name / "metrics.csv" for name in whole]
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
