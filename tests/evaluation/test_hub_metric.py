"""The `evaluate` metric, by import and by path, without a hub."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import evaluate
import pytest

from domino_lightning.errors import UserError
from domino_lightning.evaluation import hub_metric
from domino_lightning.evaluation.hub_metric import DominoPassAtK
from domino_lightning.evaluation.pass_at_k import PassAtK

VERDICTS = [[True, False, False], [False, False, False], [True, True, True], [False, True, True]]
GROUPS = ["a", "b", "a", "c"]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.setattr(evaluate.loading, "init_dynamic_modules", lambda *_: _modules(tmp_path, monkeypatch))
    return {"cache_dir": str(tmp_path / "cache")}


def _modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = folder / "modules" / "evaluate_modules_of_test"
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(path.parent))
    return str(path)


def test_loaded_by_path_it_equals_brute_force_and_the_torchmetrics_metric(options: dict[str, Any]) -> None:
    metric = evaluate.load(str(Path(hub_metric.__file__)), **options)
    found = metric.compute(predictions=VERDICTS, references=GROUPS)
    for k in (1, 2, 3):
        subsets = [list(itertools.combinations(row, k)) for row in VERDICTS]
        by_hand = sum(sum(map(any, each)) / len(each) for each in subsets) / len(VERDICTS)
        assert found[f"pass@{k}"] == pytest.approx(by_hand)
    other = PassAtK(k=None)
    other.update([sum(row) for row in VERDICTS], [3] * 4, GROUPS)
    assert {name: value.item() for name, value in other.compute().items()} == pytest.approx(found)


def test_batches_add_up(options: dict[str, Any]) -> None:
    whole = DominoPassAtK(**options).compute(predictions=VERDICTS, references=GROUPS, k=[1])
    metric = DominoPassAtK(**options)
    for row, group in zip(VERDICTS, GROUPS, strict=True):
        metric.add_batch(predictions=[row], references=[group])
    assert metric.compute(k=[1]) == whole


def test_programs_and_answers_are_graded_when_asked_for(options: dict[str, Any]) -> None:
    tests = [{"type": "assert", "code": "assert double(4) == 8"}]
    problem = json.dumps({"id": "d", "prompt": "Double a number.", "entry_point": "double", "tests": tests})
    samples = ["```python\ndef double(a):\n    return 2 * a\n```", "def double(a): return a", "no", ""]
    found = DominoPassAtK("codegen", **options).compute(predictions=[samples], references=[problem], workers=2)
    assert found is not None
    assert (found["pass@1"], found["pass@4"]) == (0.25, 1)
    question = json.dumps({"id": "e", "code": "def f(a):\n    return a", "input": "1", "output": "1"})
    found = DominoPassAtK("codeexec", **options).compute(predictions=[["1", "f(1)"]], references=[question])
    assert found is not None
    assert found["pass@1"] == 0.5


def test_misuse_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="configuration 'code' is none of verdicts, codegen, codeexec"):
        DominoPassAtK("code", **options)
    with pytest.raises(UserError, match="prediction 1: a problem without samples"):
        DominoPassAtK(**options).compute(predictions=[[True], []], references=["a", "b"])
    with pytest.warns(UserWarning, match="pass@2 is left out: 1 of 2 problems"):
        DominoPassAtK(**options).compute(predictions=[[True, True], [False]], references=["a", "b"], k=[1, 2])
