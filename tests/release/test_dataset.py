"""The dataset repository: a card that the hub's own parser reads, and data that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from domino_lightning.release.dataset import dataset_bundle, size_category
from domino_lightning.release.origin import Origin
from domino_lightning.release.terms import Terms
from domino_lightning.results.runs import Run
from domino_lightning.utils.jsonl import read_jsonl
from tests.release.conftest import TERMS

HUB = "https://hub.example"


def laid_out(run: Run, folder: Path, terms: Terms = TERMS) -> Path:
    return dataset_bundle(Origin.of(run, "answer"), terms, "me/pairs", HUB).lay_out(folder)


def test_the_card_has_every_field_that_the_hub_reads(smoke_run: Run, tmp_path: Path) -> None:
    head = DatasetCard((laid_out(smoke_run, tmp_path) / "README.md").read_text(encoding="utf-8")).data.to_dict()
    info = head.pop("dataset_info")
    assert head == {
        "language": ["en", "code"],
        "license": "cc-by-4.0",
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "size_categories": ["n<1K"],
        "source_datasets": ["original"],
        "task_categories": ["text-generation"],
        "pretty_name": "Synthetic codeexec pairs",
        "tags": ["synthetic", "code", "codeexec", "domino"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "pairs.parquet"}]}],
    }
    rows = len(read_jsonl(smoke_run.path / "answer" / "pairs.jsonl"))
    assert [feature["name"] for feature in info["features"]] == ["messages", "source_id", "provenance"]
    assert info["splits"][0]["num_examples"] == rows > 0
    assert info["download_size"] == (smoke_run.path / "answer" / "pairs.parquet").stat().st_size


def test_the_repository_loads_as_a_data_set_with_the_features_of_its_card(smoke_run: Run, tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(laid_out(smoke_run, tmp_path)), cache_dir=str(tmp_path / "cache"), split="train")
    assert [dict(row) for row in rows] == read_jsonl(smoke_run.path / "answer" / "pairs.jsonl")


def test_configuration_provenance_and_funnel_lie_beside_the_data(smoke_run: Run, tmp_path: Path) -> None:
    folder = laid_out(smoke_run, tmp_path)
    provenance = json.loads((folder / "provenance" / "provenance.json").read_text())
    stages = ["prepare", "tune", "synthesize", "curate", "answer"]
    assert {name: each["fingerprint"] for name, each in provenance["stages"].items()} == {
        name: smoke_run.trial["stages"][name] for name in stages
    }
    assert provenance["stages"]["synthesize"]["seed"] == 0
    funnel = json.loads((folder / "provenance" / "funnel.json").read_text())
    assert funnel["curate"]["candidates"] == 8
    assert (folder / "provenance" / "config.yaml").is_file()


def test_no_path_of_this_machine_is_in_any_text_of_the_repository(smoke_run: Run, tmp_path: Path) -> None:
    folder = laid_out(smoke_run, tmp_path)
    root = str(smoke_run.path.parents[4])
    texts = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert len(texts) == 5
    assert [path.name for path in texts if root in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("rows", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10**4, "10K<n<100K"), (10**6, "1M<n<10M")],
)
def test_sizes_have_the_hubs_names(rows: int, category: str) -> None:
    assert size_category(rows) == category
    assert size_category(10**9) == "n>1B"
