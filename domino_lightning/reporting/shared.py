"""What the pages of runs and of sweeps share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.reporting.collect import (
    TrialDir,
    read_optional,
    read_score,
    whole,
)
from domino_lightning.reporting.funnel import read_funnel
from domino_lightning.stages import STAGES
from domino_lightning.tracking.metrics_file import best_heldout, read_metrics


def config_differences(trials: Sequence[TrialDir]) -> list[tuple[str, list[str]]]:
    """(dotted key, value of every trial) where the resolved configurations differ."""
    flat = [_flat(trial.config) for trial in trials]
    keys = dict.fromkeys(key for values in flat for key in values)
    table = [(key, [values.get(key, "") for values in flat]) for key in keys]
    return [(key, values) for key, values in table if len(set(values)) > 1]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for key, child in value.items():
            found |= _flat(child, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}


def rows_of(name: str, trials: Sequence[TrialDir], labels: Sequence[str]) -> list[dict[str, Any]]:
    """One row for every distinct stage `name`: its trials, state, wall time and place in the store."""
    rows: dict[str, dict[str, Any]] = {}
    for label, trial in zip(labels, trials, strict=True):
        stage = trial.stages[name]
        if not stage.exists:
            continue
        place = f"stages/{name}/{stage.fingerprint}"
        row: dict[str, Any] = {
            "stage": name,
            "state": stage.state,
            "wall_s": stage.wall_s,
            "place": place,
            "labels": [],
        }
        row["finished_at"] = str(stage.manifest.get("finished_at") or "")
        rows.setdefault(stage.fingerprint, row)["labels"].append(label)
    return list(rows.values())


def versions_of(trials: Sequence[TrialDir]) -> list[tuple[str, list[str]]]:
    """(package or "git", versions seen in the manifests), each version once."""
    seen: dict[str, dict[str, None]] = {}
    for stage in (trial.stages[name] for name in STAGES for trial in trials):
        versions = stage.manifest.get("versions")
        for package, version in (versions if isinstance(versions, dict) else {}).items():
            seen.setdefault(str(package), {})[str(version)] = None
        if stage.manifest.get("git_sha"):
            seen.setdefault("git", {})[str(stage.manifest["git_sha"])] = None
    return [(name, list(found)) for name, found in sorted(seen.items())]


def result_row(trial: TrialDir) -> dict[str, Any]:
    """One row of `results.csv`; an empty cell is something that the trial does not have.

    pass@1 and its interval are shares in [0, 1], the held-out NLL is in nats/token, wall times in seconds.
    """
    stage = trial.stages
    score = read_score(stage["evaluate"])
    funnel = read_funnel(stage["synthesize"], stage["curate"], stage["answer"])
    try:
        best = best_heldout(read_metrics(stage["tune"].path))
    except UserError:  # the page says which line is broken
        best = None
    coder = read_optional(stage["finetune"], "coder.json") or {}
    counts = {name: read_optional(stage[name], file) or {} for name, file in _COUNTED.items()}
    row: dict[str, Any] = {
        "experiment": trial.experiment,
        "trial": trial.name,
        "status": trial.status,
        "error": trial.error.strip().splitlines()[-1] if trial.error.strip() else None,
        "overrides": " ".join(trial.overrides),
        "seed": trial.seed,
        "source": trial.source,
        "pass@1": score and score.value,
        "pass@1_low": score and score.low,
        "pass@1_high": score and score.high,
        "problems": score and score.problems,
        "groups": score and score.groups,
        "samples": score and score.samples,
        "candidates": funnel.candidates if funnel.steps else None,
        "accepted": whole(counts["curate"].get("accepted")),
        "answered": whole(counts["answer"].get("answered")),
        "optimizer_steps": whole(coder.get("steps")),
        "best_heldout_nll": best and best[1],
        "best_heldout_step": best and best[0],
    }
    row |= {f"{name}_fingerprint": stage[name].fingerprint for name in STAGES}
    return row | {f"{name}_wall_s": stage[name].wall_s for name in STAGES}


_COUNTED = {"curate": "funnel.json", "answer": "answers.json"}


def test_set_warning(trials: Sequence[TrialDir]) -> str:
    """A sentence where evaluated trials were scored on different test files; empty otherwise."""
    files = set()
    for trial in trials:
        prepare = trial.stages["prepare"]
        if read_score(trial.stages["evaluate"]) is None or not prepare.exists:
            continue
        output = (prepare.manifest.get("outputs") or {}).get("test.jsonl") or {}
        files.add(output.get("sha256") or prepare.fingerprint)
    if len(files) < 2:
        return ""
    return f"These arms were scored on {len(files)} different test sets; their pass@1 values are not comparable."
