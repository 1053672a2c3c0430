"""What a trial left on disk, read into small dataclasses; nothing here draws or loads a model."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.results.runs import trial_status
from domino_lightning.stages import STAGES
from domino_lightning.store.store import MANIFEST, altered, read_manifest
from domino_lightning.utils.jsonl import read_json

_REMEDY = "Pass a trial, runs/<experiment> or the store's root."


@dataclass(frozen=True)
class StageDir:
    """One stage of a trial: where it is in the store and what its manifest says.

    `state` is "finished" (has a manifest), "unfinished" (a directory without one), "damaged" (a manifest that is not
    whole, or files that are not what they were; `damage` says which) or "not run". What is damaged is read by nobody:
    its `path` leads nowhere.
    """

    name: str
    fingerprint: str
    path: Path
    state: str
    manifest: dict[str, Any] = field(default_factory=dict)
    damage: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is a directory to read from, finished or not."""
        return self.state != "not run"

    @property
    def wall_s(self) -> float | None:
        """Seconds the stage took, where its manifest says."""
        return number(self.manifest.get("wall_s"))


@dataclass(frozen=True)
class TrialDir:
    """One trial: a point of a sweep, or the only one of an experiment. `stages` has every name of STAGES."""

    path: Path
    experiment: str
    name: str
    overrides: tuple[str, ...]
    status: str
    started_at: str
    error: str
    stages: dict[str, StageDir]
    config: dict[str, Any]
    config_text: str

    @property
    def root(self) -> Path:
        """The store that holds the trial (`<root>/runs/<experiment>/<trial>`)."""
        return self.path.parent.parent.parent

    @property
    def source(self) -> str:
        """What the coder was fine-tuned on: none, reference, synthetic or both; empty where nothing says."""
        coder = read_optional(self.stages["finetune"], "coder.json") or {}
        section = self.config.get("finetune")
        configured = section.get("source") if isinstance(section, dict) else None
        return str(coder.get("source") or configured or "")

    @property
    def seed(self) -> str:
        """The experiment's seed as text; empty where the configuration has none."""
        return str(self.config.get("seed", ""))


@dataclass(frozen=True)
class Score:
    """pass@1 as shares in [0, 1] with its 95% interval, and what it was counted on.

    `others` are the further numbers, `parts` those of parts of the problems ("difficulty=easy") by name.
    """

    value: float
    low: float | None
    high: float | None
    problems: int | None
    groups: int | None
    samples: int | None
    others: dict[str, float]
    parts: dict[str, dict[str, float]] = field(default_factory=dict)


def number(value: Any) -> float | None:
    """A finite float from a JSON value; None for anything else (bool, text, NaN)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """An int from a JSON value; None where there is no finite number."""
    found = number(value)
    return None if found is None else int(found)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that puts trial-2 before trial-10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]


def find_trials(paths: Sequence[Path]) -> list[Path]:
    """Trial directories below the given paths, in the order given, each once.

    Args:
        paths: trial directories, experiment directories (`runs/<experiment>`), `runs` itself or store roots.

    Raises:
        UserError: no paths, a path that does not exist, or one that holds no trial.
    """
    if not paths:
        raise UserError(f"report: no path given. {_REMEDY}")
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path}: no such directory. {_REMEDY}")
        trials = _trials_below(path)
        if not trials:
            raise UserError(
                f"{path}: no trial here (no trial.json in it, in its children or under runs/). "
                f"{_REMEDY} Before that, run an experiment."
            )
        for trial in trials:
            found.setdefault(trial.resolve(), trial)
    return list(found.values())


def _trials_below(path: Path) -> list[Path]:
    if (path / "trial.json").is_file():
        return [path]
    for pattern in ("*/trial.json", "runs/*/*/trial.json", "*/*/trial.json"):
        trials = [file.parent for file in path.glob(pattern)]
        if trials:
            return sorted(trials, key=lambda trial: natural(trial.relative_to(path).as_posix()))
    return []


def read_trial(path: Path) -> TrialDir:
    """A trial as it is on disk; one that cannot be read is "unreadable" and says why in `error`."""
    path = Path(path).absolute()
    info, error = _read_object(path / "trial.json")
    config, config_text, config_error = _read_config(path / "config.yaml")
    known = info.get("stages")
    fingerprints = known if isinstance(known, dict) else {}
    root = path.parent.parent.parent
    overrides = info.get("overrides")
    stages = {name: _read_stage(path, root, name, str(fingerprints.get(name) or "")) for name in STAGES}
    damage = [stage.damage for stage in stages.values() if stage.damage]
    problems = [str(text) for text in (error, info.get("error"), config_error, *damage) if text]
    return TrialDir(
        path=path,
        experiment=str(info.get("experiment") or path.parent.name),
        name=str(info.get("trial") or path.name),
        overrides=tuple(map(str, overrides)) if isinstance(overrides, list) else (),
        status="unreadable" if error else "damaged" if damage else trial_status(path, info),
        started_at=str(info.get("started_at") or ""),
        error="\n".join(problems),
        stages=stages,
        config=config,
        config_text=config_text,
    )


def _read_object(path: Path) -> tuple[dict[str, Any], str]:
    try:
        value = read_json(path)
    except (UserError, OSError) as error:
        return {}, str(error)
    return (value, "") if isinstance(value, dict) else ({}, f"{path}: not a JSON object.")


def _read_config(path: Path) -> tuple[dict[str, Any], str, str]:
    import yaml

    if not path.is_file():
        return {}, "", ""
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        return {}, "", f"{path}: cannot be read ({error})."
    except yaml.YAMLError as error:
        return {}, text, f"{path}: not YAML ({error})."
    return (value if isinstance(value, dict) else {}), text, ""


def _read_stage(trial: Path, root: Path, name: str, fingerprint: str) -> StageDir:
    """The store's directory comes first: a link may be stale or lost where the trial was copied."""
    stored, link = root / "stages" / name / fingerprint, trial / name
    if fingerprint and stored.is_dir():
        path = stored
    elif link.is_dir():
        path = link.resolve()
        fingerprint = fingerprint or path.name
    else:
        return StageDir(name, fingerprint, stored if fingerprint else link, "not run")
    if not (path / MANIFEST).exists():
        return StageDir(name, fingerprint, path, "unfinished")
    manifest = read_manifest(path)
    damage = f"{path / MANIFEST} is damaged" if manifest is None else next(altered(path, manifest), "")
    if damage:
        return StageDir(name, fingerprint, path / "damaged", "damaged", manifest or {}, f"{damage}. It is left out.")
    return StageDir(name, fingerprint, path, "finished", manifest or {})


def read_optional(stage: StageDir, name: str) -> dict[str, Any] | None:
    """A JSON object of a stage; None where the stage or the file is missing or cannot be read."""
    path = stage.path / name
    if not stage.exists or not path.is_file():
        return None
    value, error = _read_object(path)
    return None if error else value


def read_score(stage: StageDir, split: str = "test") -> Score | None:
    """pass@1 of an `evaluate` stage; None where it has none."""
    metrics = read_optional(stage, "metrics.json") or {}
    prefix = f"evaluate/{split}/"
    values = {key.removeprefix(prefix): number(metrics[key]) for key in metrics if key.startswith(prefix)}
    value = values.pop("pass@1", None)
    if value is None:
        return None
    low, high = values.pop("pass@1_low", None), values.pop("pass@1_high", None)
    counts = [whole(values.pop(name, None)) for name in ("problems", "groups", "samples")]
    others = {name: found for name, found in values.items() if found is not None and "/" not in name}
    parts: dict[str, dict[str, float]] = {}
    for name, found in values.items():
        part, _, key = name.rpartition("/")
        if part and found is not None:
            parts.setdefault(part, {})[key] = found
    return Score(value, low, high, counts[0], counts[1], counts[2], others, parts)
