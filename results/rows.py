"""The rows behind docs/results.md: of finished trials, as `domino sweep --export` wrote them, and of scripts here."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from domino_lightning.evaluation.crossed import Components, components, group_table
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object

RESULTS = Path(__file__).resolve().parent
DOMINO = "source=synthetic,generator=domino,loss={},pairs=48"
BASELINE = DOMINO.format("likelihood")
NAMES = {
    "source=none": "untouched",
    "source=reference,pairs=48": "48 references",
    BASELINE: "DOMINO, likelihood",
    DOMINO.format("infonce"): "DOMINO, InfoNCE",
    DOMINO.format("released"): "DOMINO, released",
    DOMINO.format("paper"): "DOMINO, paper",
    "source=synthetic,generator=lora,learner=adapter,pairs=48": "LoRA on the references",
    "source=synthetic,generator=few-shot,pairs=48": "few-shot",
    "source=synthetic,generator=oss-instruct,candidates=1536,pairs=48": "OSS-Instruct",
}
LOSSES = {"likelihood": "likelihood", "infonce": "InfoNCE"}
SIZES = {size: {loss: f"references={size},loss={loss}" for loss in LOSSES} for size in (8, 32, 128)}
WRITERS = [name for name in NAMES if name.startswith("source=synthetic")]


def read_csv(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file under results/."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache
def arms(sweep: str = "evidence") -> dict[str, dict[int, dict[str, Any]]]:
    """Arm → seed → its scores, their problems and groups, and its numbers."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in sorted((RESULTS / sweep).iterdir()):
        record: Record = read_object(path / "trial.json")
        rows = sorted(read_jsonl(path / "verdicts.jsonl"), key=lambda row: str(row["id"]))
        found[record["arm"]][record["seed"]] = {
            "scores": [fmean(float(each["passed"]) for each in row["verdicts"]) for row in rows],
            "ids": [str(row["id"]) for row in rows],
            "groups": [str(row["group"]) for row in rows],
            "metrics": read_object(path / "metrics.json"),
        }
    return found


def table(arm: str, other: str | None = None, sweep: str = "evidence") -> Components:
    """Variance components of an arm's scores, or of its differences from another one on the seeds of both."""
    own = arms(sweep)[arm]
    seeds = sorted(own if other is None else own.keys() & arms(sweep)[other].keys())
    rows = np.array([own[seed]["scores"] for seed in seeds])
    if other is not None:
        rows = rows - np.array([arms(sweep)[other][seed]["scores"] for seed in seeds])
    return components(group_table(rows, own[seeds[0]]["groups"]))


def values(arm: str, metric: str, sweep: str = "evidence") -> dict[int, float]:
    """Seed → a number of `metrics.json`, of the trials that have it."""
    found = sorted(arms(sweep)[arm].items())
    return {seed: trial["metrics"][metric] for seed, trial in found if metric in trial["metrics"]}
