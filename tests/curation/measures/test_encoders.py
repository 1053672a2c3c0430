"""Embeddings of other packages: what they are asked for, and what is said where they are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from domino_lightning.curation.measures import Model2Vec, SentenceTransformers
from domino_lightning.errors import UserError
from domino_lightning.utils import packages

ASKED: list[tuple[Any, ...]] = []


class Sentences:
    def __init__(self, name: str, **settings: Any) -> None:
        ASKED.append((name, settings))

    def encode(self, texts: list[str], **settings: Any) -> np.ndarray:
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


class Static:
    @classmethod
    def from_pretrained(cls, name: str) -> Any:
        if name == "gone":
            raise OSError("no such model.\nA long story")
        ASKED.append((name,))
        return SimpleNamespace(encode=lambda texts: np.array([[3.0 * len(text), 4.0 * len(text)] for text in texts]))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    ASKED.clear()
    monkeypatch.setattr(packages, "is_there", lambda name: True)
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Sentences))
    monkeypatch.setitem(sys.modules, "model2vec", SimpleNamespace(StaticModel=Static))


def test_sentence_transformers_runs_no_code_of_a_model_and_unpickles_none() -> None:
    known, others = SentenceTransformers("org/model").embed(["a", "bcd"], ["xx"])
    assert [(len(known), len(others))] == [(2, 1)]
    assert known[1] == pytest.approx(np.array([3, 1]) / 10**0.5)
    ((name, settings),) = ASKED
    assert name == "org/model"
    assert settings == {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}


def test_static_vectors_have_length_one() -> None:
    known, none = Model2Vec("org/potion").embed(["ab"], [])
    assert known.tolist() == [[0.6, 0.8]] and none.shape == (0, 2)
    assert [len(group) for group in Model2Vec("org/potion").embed([], [])] == [0, 0]


def test_a_model_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(UserError, match=r"^answer\.embedding: model 'gone' cannot be loaded: no such model\.$"):
        Model2Vec("gone").embed(["a"])


@pytest.mark.parametrize("kind", [SentenceTransformers, Model2Vec])
def test_without_the_package_the_extra_is_named(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_there", lambda name: False)
    with pytest.raises(UserError, match=rf"{kind.__name__} needs the package \w+\. .*domino_lightning\[embeddings\]"):
        kind("org/model")


@pytest.mark.parametrize("kind", [SentenceTransformers, Model2Vec])
def test_any_file_of_a_model_s_directory_is_outside_content(kind: type[Any], tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    file = tmp_path / "1_Pooling" / "config.json"
    seen = []
    for content in ("{}", '{"mean": true}'):
        file.write_text(content)
        seen.append(kind.contents({"model": str(tmp_path)})["model"])
    assert seen[0] != seen[1]
    with pytest.raises(UserError, match="no such directory"):
        kind.contents({"model": "./gone"})
