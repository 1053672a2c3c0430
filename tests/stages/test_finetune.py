"""finetune: what it says where there is little or nothing to train on, for each source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import FreeText
from domino_lightning.stages.finetune import Finetune
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import write_json


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
