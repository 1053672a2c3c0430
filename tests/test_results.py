"""Every table in docs/results.md, and the README's, is computed again from the rows under results/."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

from domino_lightning.utils.jsonl import read_object, sha256_file
from results.rows import NAMES, RESULTS, arms, read_csv
from results.tables import TABLES, readme_lines

ROOT = RESULTS.parent
SWEEPS = ("evidence", "evidence_embedded", "evidence_references", "evidence_repeat")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_rows_are_those_that_were_exported(sweep: str) -> None:
    for trial in (RESULTS / sweep).iterdir():
        for name, digest in read_object(trial / "trial.json")["sha256"].items():
            assert sha256_file(trial / name) == digest, trial


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_arm_answered_the_same_problems(sweep: str) -> None:
    problems = {(tuple(trial["ids"]), tuple(trial["groups"])) for arm in arms(sweep).values() for trial in arm.values()}
    assert len(problems) == 1


def test_every_trial_is_there_or_among_those_that_failed() -> None:
    assert set(arms()) == set(NAMES)
    failed: Mapping[str, set[int]] = defaultdict(set)
    for row in read_csv("evidence_failed.csv"):
        failed[row["arm"]].add(int(row["seed"]))
    for name, trials in arms().items():
        assert set(trials) | failed[name] == set(range(10)), name


def test_a_trial_that_was_repeated_on_another_machine_gave_the_same_verdicts() -> None:
    repeated = arms("evidence_repeat")
    assert repeated
    for name, trials in repeated.items():
        for seed, trial in trials.items():
            assert (trial["ids"], trial["scores"]) == (arms()[name][seed]["ids"], arms()[name][seed]["scores"]), name


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_computed_again(name: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    missing = [line for line in TABLES[name]() if line not in page]
    assert not missing


def test_the_table_of_the_readme_is_computed_again() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [line for line in readme_lines() if line not in page]
    assert not missing
