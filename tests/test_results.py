"""Every number in docs/results.md is computed again from the rows under results/."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from domino_lightning.evaluation.crossed import (
    Components,
    components,
    difference_interval,
    group_table,
    lent,
    score_interval,
)
from domino_lightning.utils.jsonl import read_jsonl, read_object, sha256_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
EVIDENCE = ROOT / "results" / "evidence"
NAMES = {
    "source=none": "untouched",
    "source=reference,pairs=48": "references alone",
    "source=synthetic,generator=domino,loss=likelihood,pairs=48": "DOMINO, likelihood",
}
BASELINE = "source=synthetic,generator=domino,loss=likelihood,pairs=48"


def verdicts(trial: Path) -> tuple[list[float], list[str], list[str]]:
    """Score, group and id of every problem, in order of id."""
    rows = sorted(read_jsonl(trial / "verdicts.jsonl"), key=lambda row: str(row["id"]))
    scores = [fmean(float(each["passed"]) for each in row["verdicts"]) for row in rows]
    return scores, [str(row["group"]) for row in rows], [str(row["id"]) for row in rows]


@pytest.fixture(scope="module")
def arms() -> dict[str, dict[str, Any]]:
    """For each arm its scores (S, P), the groups, and its seeds."""
    found: dict[str, dict[str, Any]] = {}
    for trial in sorted(EVIDENCE.iterdir()):
        record = read_object(trial / "trial.json")
        scores, groups, ids = verdicts(trial)
        arm = found.setdefault(record["arm"], {"scores": [], "seeds": [], "groups": groups, "ids": ids})
        assert (arm["groups"], arm["ids"]) == (groups, ids)
        arm["scores"].append(scores)
        arm["seeds"].append(record["seed"])
    return found


def table(arm: dict[str, Any], other: dict[str, Any] | None = None) -> Components:
    rows = np.array(arm["scores"]) - (0 if other is None else np.array(other["scores"]))
    return components(group_table(rows, arm["groups"]))


def test_the_rows_are_those_that_were_exported() -> None:
    for trial in EVIDENCE.iterdir():
        for name, digest in read_object(trial / "trial.json")["sha256"].items():
            assert sha256_file(trial / name) == digest, trial


def test_the_table_of_arms(arms: dict[str, dict[str, Any]]) -> None:
    assert set(arms) == set(NAMES)
    own = {name: table(arm) for name, arm in arms.items()}
    seeded = [one for name, one in own.items() if name != "source=none"]
    gains = {name: table(arm, arms[BASELINE]) for name, arm in arms.items() if name != BASELINE}
    for name, arm in arms.items():
        assert sorted(arm["seeds"]) == [0, 1, 2]
        # Decoding is greedy and nothing is trained, so the untouched coder is one and the same under every seed.
        seedless = name == "source=none"
        one = components(group_table(arm["scores"][:1], arm["groups"])) if seedless else own[name]
        low, high = score_interval(one.mean(None if seedless else lent(seeded)))
        line = f"| {NAMES[name]} | {100 * float(one.value):.1f} | {100 * float(low):.1f} to {100 * float(high):.1f} |"
        if name == BASELINE:
            line += " – |"
        else:
            mean = gains[name].mean(lent(gains.values()))
            low, high = difference_interval(mean)
            line += f" {100 * float(mean.value):+.1f} ({100 * float(low):+.1f} to {100 * float(high):+.1f}) |"
        assert line in PAGE, line


def test_the_table_of_tuning() -> None:
    rows = defaultdict(list)
    with (ROOT / "results" / "evidence_tuning.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["loss"] or row["generator"]].append(row)
    for name, each in rows.items():
        assert [row["seed"] for row in each] == ["0", "1", "2"]
        cells = [name]
        for key, form in (("heldout_nll", "{:.3f}"), ("own_gain", "{:+.2f}"), ("other_gap", "{:+.2f}")):
            values = [float(row[key]) for row in each if row[key]]
            cells.append(" / ".join(map(form.format, values)) if values else "–")
        cells.append(" / ".join(row["screened_in"] for row in each))
        cells.append(" / ".join(row["pairs"] or "–" for row in each))
        assert "| " + " | ".join(cells) + " |" in PAGE, cells
