"""A store made by an earlier version is found finished: fingerprints of what is shipped do not move by themselves."""

from __future__ import annotations

import json

import pytest

from tests.runner.shipped_fingerprints import RECORDED, fingerprints, hub_commit


@pytest.mark.slow
def test_fingerprints_of_shipped_files_are_the_recorded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a change is meant (a stage's version, a default), record them again and say so in the changelog."""
    monkeypatch.setattr("domino_lightning.store.contents._hub_commit", hub_commit)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    found = fingerprints()
    assert found.keys() == recorded.keys()
    moved = {
        (file, stage)
        for file, stages in recorded.items()
        for stage, digests in stages.items()
        if found[file].get(stage) != digests
    }
    assert sorted(moved) == []
