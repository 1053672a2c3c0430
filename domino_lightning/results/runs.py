"""Open a trial or a sweep from Python, finished or running: configuration, numbers, texts, soft prompt."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl
from domino_lightning.tracking.wandb import axis_value, log_trials, stage_metrics

TRIALS = "trials.json"  # what a sweep's directory holds

if TYPE_CHECKING:
    import pandas

    from domino_lightning.models.soft_prompt import SoftPrompt
    from domino_lightning.stages.base import Tracking


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
            for key, value in stage_metrics(name, self.path / name).items()
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
        from domino_lightning.stages.base import Tracking

        section = self.config.get("tracking") or {}
        if section.get("wandb", "disabled") == "disabled":
            return None
        return Tracking(**section, group=group, root=str(self.path.parent.parent.parent))

    def soft_prompt(self) -> SoftPrompt:
        """The tuned soft prompt with its backbone loaded; `soft_prompt().generate(8)` samples it."""
        from domino_lightning.models.soft_prompt import SoftPrompt

        return SoftPrompt.load(self.stage("tune"))


class SweepRuns:
    """The trials of one sweep.

    Attributes:
        path: the sweep's directory, `<root>/sweeps/<name>`.
        record: content of `trials.json`: axes, seeds, baseline, trials.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: Record = read_json(path / TRIALS)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return str(self.record["sweep"])

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return str(self.record["baseline"])

    @property
    def axes(self) -> list[str]:
        """Names of the axes in the order of the sweep file."""
        return [str(axis["name"]) for axis in self.record["axes"]]

    @property
    def arms(self) -> list[str]:
        """The arms in the order of the sweep file; every arm has a trial per seed."""
        return list(dict.fromkeys(trial["arm"] for trial in self.record["trials"]))

    def folder(self, trial: Record) -> Path:
        """The directory of an entry of `record["trials"]`, whether or not it has begun."""
        return self.path.parent.parent / "runs" / self.path.name / str(trial["folder"])

    def runs(self, arm: str | None = None) -> list[Run]:
        """The trials that have begun, of one arm or of all.

        Raises:
            UserError: the sweep has no such arm.
        """
        if arm is not None and arm not in self.arms:
            raise UserError(f"{self.path}: no arm '{arm}' here; there are: {'; '.join(self.arms)}.")
        chosen = [trial for trial in self.record["trials"] if arm in (None, trial["arm"])]
        folders = [self.folder(trial) for trial in chosen]
        return [Run(folder) for folder in folders if (folder / "trial.json").is_file()]

    def log_trials(self) -> int:
        """Give every finished trial that has none its W&B run, where the sweep is tracked; how many got one."""
        tracked = [(run.tracking(self.name), run.trial, run.path) for run in self.runs()]
        root = self.path.parent.parent
        return log_trials(root, [(where, trial, path) for where, trial, path in tracked if where is not None])

    def frame(self) -> pandas.DataFrame:
        """One row a trial: `trial`, `arm`, `seed`, `status`, every axis, then every metric of its stages.

        An axis holds numbers where its values are numbers and labels elsewhere; it is missing where it does not
        apply, and called `axis.<name>` where its name is one of the first four. A trial that has not begun is
        `pending` and has no metrics.
        """
        import pandas

        rows = []
        for trial in self.record["trials"]:
            row: Record = {"trial": trial["trial"], "arm": trial["arm"], "seed": trial["seed"], "status": "pending"}
            row |= {axis_column(axis): axis_value(trial, axis) for axis in self.axes}
            if (self.folder(trial) / "trial.json").is_file():
                run = Run(self.folder(trial))
                row |= {"status": run.trial["status"], **run.metrics}
            rows.append(row)
        return pandas.DataFrame(rows)

    def history(self) -> pandas.DataFrame:
        """Every logged value: columns `arm`, `seed`, `step`, `key`, `value`; stages that arms share come with each."""
        import pandas

        frames = [run.history().assign(arm=run.trial["arm"], seed=run.trial["seed"]) for run in self.runs()]
        columns = ["arm", "seed", "step", "key", "value"]
        frames = [frame for frame in frames if len(frame)]
        return pandas.concat(frames, ignore_index=True)[columns] if frames else pandas.DataFrame(columns=columns)


def axis_column(axis: str) -> str:
    """The column of an axis in a table of trials or arms: its name, unless such a table has that column already."""
    return f"axis.{axis}" if axis in {"sweep", "trial", "arm", "seed", "status", "baseline", "experiment"} else axis


def is_sweep(path: Path) -> bool:
    """Whether a path names a sweep: its directory or a YAML file."""
    return (path / TRIALS).is_file() or (path.suffix in {".yaml", ".yml"} and path.is_file())


def open_sweep(path: str | Path) -> SweepRuns:
    """Open a sweep by its directory, or by its YAML file where its store is the one that the file names.

    Raises:
        UserError: nothing has been run of it, or there is no sweep at the path.
    """
    folder = Path(path)
    if folder.suffix in {".yaml", ".yml"} and folder.is_file():
        from domino_lightning.sweep import load_sweep

        folder = load_sweep(folder).folder
    if not (folder / TRIALS).is_file():
        raise UserError(
            f"{folder}: no {TRIALS} here. Name a sweep's directory, <root>/sweeps/<name>; `domino sweep` makes it."
        )
    return SweepRuns(folder)


def open_run(path: str | Path) -> Run:
    """Open a trial directory.

    Raises:
        UserError: there is no trial at the path.
    """
    folder = Path(path)
    if not (folder / "trial.json").is_file():
        raise UserError(f"{folder}: no trial.json here. Name <root>/runs/<experiment>/<trial>; `domino ls` lists them.")
    return Run(folder)
