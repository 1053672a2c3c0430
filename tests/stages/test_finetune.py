"""finetune: what it says where there is little or nothing to train on, for each source."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domino_lightning.domains import FreeText
from domino_lightning.stages.finetune import Finetune
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import write_json, write_jsonl


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    (tmp_path / "answer").mkdir()
    return tmp_path / "answer"


def nothing(source: Any, answered: Path, summary: dict[str, Any]) -> str:
    write_json(answered / "answers.json", summary)
    stage = object.__new__(Finetune)
    stage.source, stage.domain = source, FreeText()
    work = Work(answered.parent, {"answer": answered}, "fp", {})
    return stage._nothing(work, [{"id": "1"}, {"id": "2"}])


def test_where_curate_let_nothing_pass_the_advice_is_about_curate(answered: Path) -> None:
    told = nothing("synthetic", answered, {"accepted": 0, "answered": 0, "rejected": {}})
    assert told.startswith("finetune.source: 'synthetic', but curate accepted no row, and its funnel.json says")
    assert "references" not in told


def test_where_answer_answered_nothing_the_advice_names_its_reasons(answered: Path) -> None:
    told = nothing("both", answered, {"accepted": 7, "answered": 0, "rejected": {"check": 6, "no_answer": 1}})
    assert "answer answered none of 7 accepted rows (check 6, no_answer 1)" in told
    assert told.endswith("None of the 2 references has an answer either.")


@pytest.mark.parametrize(("pairs", "warned"), [(1, True), (9, True), (10, False)])
def test_training_on_fewer_than_ten_pairs_warns(
    pairs: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The fit itself is left out: the warning stands before it."""
    for name in ("prepare", "answer", "scratch"):
        (tmp_path / name).mkdir()
    for name in ("reference", "heldout"):
        write_jsonl(tmp_path / f"prepare/{name}.jsonl", [])
    write_jsonl(tmp_path / "answer/pairs.jsonl", [{"messages": []}] * pairs)
    data = SimpleNamespace(encoded={"train": [[0]] * pairs}, setup=lambda: None)
    model = SimpleNamespace(lora=None, save_pretrained=lambda directory: None)
    monkeypatch.setattr(Finetune, "datamodule", lambda self, **files: data)
    monkeypatch.setattr(Finetune, "module", lambda self: model)
    monkeypatch.setattr(Finetune, "fit", lambda self, *args: (SimpleNamespace(global_step=2), None, None))
    stage = object.__new__(Finetune)
    stage.source, stage.domain = "synthetic", FreeText()
    inputs = {name: tmp_path / name for name in ("prepare", "answer")}
    assert stage._train(Work(tmp_path, inputs, "fp", {}))["pairs"] == pairs
    assert (f"finetune: {pairs} pairs to train on" in caplog.text) == warned
