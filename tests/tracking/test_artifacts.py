"""What W&B keeps of a stage: metadata of its files, the code of a fork, and the machine where it is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.tracking import Tracking
from domino_lightning.domains import VerifiableDomain
from domino_lightning.stages import stage_class
from domino_lightning.store.work import Work
from domino_lightning.tracking.artifacts import stage_artifact
from domino_lightning.tracking.wandb import stage_run, start_run
from tests.conftest import finished_offline_runs, write_rows

SECTION = {"domain": {"class_path": "fork_of_artifacts.Mine"}}


class Settings:
    """What `wandb.init` is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import wandb

        self.given: dict[str, Any] = {}
        monkeypatch.setattr(wandb, "init", self.given.update)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    def of(self, tracking: Tracking) -> tuple[str, bool, bool]:
        """Console, whether statistics are off, whether git is."""
        start_run(tracking, "id", "name", "prepare", {})
        settings = self.given["settings"]
        return settings.console, settings.x_disable_stats, settings.disable_git


def test_the_machine_is_shown_where_a_run_is_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(monkeypatch)
    shown, hidden = ("wrap", False, False), ("off", True, True)
    cases = {
        ("online", "auto"): shown, ("offline", "auto"): hidden,
        ("online", "always"): shown, ("offline", "always"): shown,
        ("online", "never"): hidden, ("offline", "never"): hidden,
    }  # fmt: skip
    for (mode, system), expected in cases.items():
        tracking = Tracking(mode, root=str(tmp_path), system=system)
        assert settings.of(tracking) == expected, (mode, system)
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setattr("domino_lightning.tracking.wandb.has_api_key", lambda: False)
    assert settings.of(Tracking("online", root=str(tmp_path))) == hidden  # it is kept offline


def test_the_code_of_a_fork_is_kept_where_the_machine_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fork_of_artifacts.py").write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for system in ("always", "auto"):
        tracking = Tracking("offline", root=str(tmp_path / system), system=system)
        run = stage_run(Work(tmp_path / "stage", {}, "0123456789abcdef", SECTION, tracking), "curate", [])
        run.finish()
    (kept,) = finished_offline_runs(tmp_path / "always", 1)
    assert kept.artifacts == [("code-0123456789abcdef", "code")]
    (none,) = finished_offline_runs(tmp_path / "auto", 1)
    assert none.artifacts == []


def test_an_artifact_says_rows_hashes_and_arms(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    write_rows(folder / "accepted.jsonl", [{"id": "1"}, {"id": "2"}, {"id": "3"}])
    (folder / "funnel.json").write_text("{}")
    (folder / ".hidden").write_text("x")
    tags = ("sweep:losses", "arm:loss=infonce", "arm:loss=likelihood")
    work = Work(folder, {}, "0123456789abcdef", {}, replace(Tracking(), tags=tags))
    artifact = stage_artifact(work, "curate", "corpus")
    assert artifact.metadata == {
        "stage": "curate",
        "fingerprint": "0123456789abcdef",
        "rows": {"accepted.jsonl": 3},
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("accepted.jsonl", "funnel.json")
        },
        "sweeps": ["losses"],
        "arms": ["loss=infonce", "loss=likelihood"],
    }
    json.dumps(artifact.metadata)


class Labelled(VerifiableDomain):
    """A domain whose answers lie in a field of its own."""

    answer_field = "label"


def test_a_table_of_answers_has_the_domains_own_field(tmp_path: Path) -> None:
    write_rows(tmp_path / "answered.jsonl", [{"id": "1", "text": "q", "label": "yes"}, {"id": "2", "text": "r"}])
    pairs = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": a}]} for a in "ab"]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    answer = stage_class("answer")
    named = {"domain": {"class_path": f"{__name__}.Labelled"}}
    assert answer.samples(tmp_path, named) == [
        {"id": "1", "text": "q", "label": "yes", "answer": "a"},
        {"id": "2", "text": "r", "label": "", "answer": "b"},
    ]
    assert answer.samples(tmp_path)[0] == {"id": "1", "text": "q", "answer": "a"}
