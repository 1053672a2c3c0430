"""Open a sweep from Python, finished or running."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from domino_lightning.errors import UserError
from domino_lightning.sweep.records import TRIALS
from domino_lightning.tracking.tags import note_tags, send_tags
from domino_lightning.tracking.wandb import Forgiven, has_api_key, is_logged, log_trial, sweep_tags, tag_of, trial_id
from domino_lightning.utils.jsonl import Record, read_object

if TYPE_CHECKING:
    import pandas

from domino_lightning.results.runs import Run, axis_value
from domino_lightning.results.trial_log import trial_log

log = logging.getLogger(__name__)


class SweepRuns:
    """The trials of one sweep.

    Attributes:
        path: the sweep's directory, `<root>/sweeps/<name>`.
        record: content of `trials.json`: axes, seeds, baseline, trials.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: Record = read_object(path / TRIALS)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return str(self.record["sweep"])

    @property
    def root(self) -> Path:
        """The store."""
        return self.path.parent.parent

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
        return self.root / "runs" / self.path.name / str(trial["folder"])

    def runs(self, arm: str | None = None) -> list[Run]:
        """The trials that have begun, of one arm or of all; one that cannot be read is left out, with a warning.

        Raises:
            UserError: the sweep has no such arm.
        """
        if arm is not None and arm not in self.arms:
            raise UserError(f"{self.path}: no arm '{arm}' here; there are: {'; '.join(self.arms)}.")
        chosen = [trial for trial in self.record["trials"] if arm in (None, trial["arm"])]
        runs = []
        for folder in map(self.folder, chosen):
            if (folder / "trial.json").is_file():
                try:
                    runs.append(Run(folder))
                except UserError as error:
                    log.warning("%s The trial is left out.", error)
        return runs

    def ended(self) -> int:
        """How many trials have finished or failed."""
        return sum(run.trial["status"] in {"finished", "failed"} for run in self.runs())

    def goes_on(self) -> bool:
        """Whether a trial is running or has not begun."""
        return self.ended() < len(self.record["trials"])

    def log_trials(self) -> int:
        """Give every trial that is over and has none its W&B run, where the sweep is tracked; how many got one.

        Its stages, which may have been run by an earlier sweep, get its tags.
        """
        logged = 0
        tags: dict[str, dict[str, None]] = {}
        trackings = []
        for run in self.runs():
            tracking, record = run.tracking(self.name), run.trial
            if tracking is None:
                continue
            trackings.append(tracking)
            for digest in record["stages"].values():
                if is_logged(self.root, digest):
                    tags.setdefault(digest, {})[record["arm"]] = None
            if record["status"] not in {"finished", "failed"} or is_logged(self.root, trial_id(record)):
                continue
            folders = {name: run.path / name for name in record["stages"] if (run.path / name).is_dir()}
            shown = trial_log(
                {name: folder for name, folder in folders.items() if name not in run.damage}, run.metrics, run.config
            )
            tagged = replace(tracking, tags=sweep_tags(self.name, [record["arm"]]))
            log_trial(tagged, record, {axis: axis_value(record, axis) for axis in record["axes"]}, shown)
            logged += 1
        for digest, arms in tags.items():
            note_tags(trackings[0], digest, [tag_of(text) for text in sweep_tags(self.name, arms)])
        if trackings and trackings[0].wandb == "online" and has_api_key():
            with Forgiven():
                send_tags(self.root)
        return logged

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
                try:
                    run = Run(self.folder(trial))
                    row |= {"status": run.status, **run.metrics}
                except UserError as error:
                    log.warning("%s", error)
                    row["status"] = "unreadable"
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
