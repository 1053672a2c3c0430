"""The Croissant description: valid for mlcroissant, with what reviewers ask of responsible AI and provenance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.release.croissant import croissant
from domino_lightning.release.origin import Origin
from domino_lightning.results.runs import Run
from domino_lightning.utils.jsonl import read_jsonl
from tests.release.conftest import TERMS


@pytest.fixture(scope="module")
def described(smoke_run: Run) -> dict[str, Any]:
    return croissant(Origin.of(smoke_run, "answer"), TERMS, "me/pairs", "https://hub.example")


@pytest.fixture(scope="module")
def mlcroissant() -> Any:
    """The reference implementation; where everything must be tested, it must be there."""
    if os.environ.get("DOMINO_REQUIRE_EXTRAS"):
        import mlcroissant

        return mlcroissant
    return pytest.importorskip("mlcroissant")


def test_the_reference_implementation_finds_nothing_wrong(described: dict[str, Any], mlcroissant: Any) -> None:
    data = mlcroissant.Dataset(jsonld=described)
    assert data.metadata.ctx.issues.errors == set()
    assert data.metadata.ctx.issues.warnings == set()
    assert data.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"


def test_records_read_through_the_description_are_the_pairs(
    described: dict[str, Any], mlcroissant: Any, smoke_run: Run
) -> None:
    parquet = smoke_run.path / "answer" / "pairs.parquet"
    data = mlcroissant.Dataset(jsonld=described, mapping={"pairs.parquet": str(parquet)})
    read = [
        [message["pairs/messages/content"].decode() for message in record["pairs/messages"]]
        for record in data.records("pairs")
    ]
    pairs = read_jsonl(smoke_run.path / "answer" / "pairs.jsonl")
    assert read == [[message["content"] for message in pair["messages"]] for pair in pairs]


def test_responsible_ai_fields_and_the_provenance_pair_are_there(described: dict[str, Any]) -> None:
    asked = ("dataLimitations", "dataBiases", "personalSensitiveInformation", "dataUseCases", "dataSocialImpact")
    assert all(described[f"rai:{name}"] for name in asked)
    assert described["rai:hasSyntheticData"] is True
    assert "8 candidates" in described["rai:dataCollection"]


def test_provenance_names_every_stage_and_the_content_that_it_read(described: dict[str, Any], smoke_run: Run) -> None:
    stages = ("prepare", "tune", "synthesize", "curate", "answer")
    made_by = [activity["@id"] for activity in described["prov:wasGeneratedBy"]]
    assert made_by == [f"urn:domino:{name}:{smoke_run.trial['stages'][name]}" for name in stages]
    labels = [entity["prov:label"] for entity in described["prov:wasDerivedFrom"]]
    assert labels == ["data.jsonl", Path(smoke_run.config["backbone"]).name]
    assert all(entity["@id"].startswith("urn:sha256:") for entity in described["prov:wasDerivedFrom"])


def test_licenses_are_addresses(described: dict[str, Any]) -> None:
    assert described["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert described["distribution"][0]["contentUrl"] == (
        "https://hub.example/datasets/me/pairs/resolve/main/pairs.parquet"
    )
