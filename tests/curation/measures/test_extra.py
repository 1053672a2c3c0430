"""Measures that cost a model or a package: gradients by hand, MAUVE's arguments, what a fork may add."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from domino_lightning.curation.corpus import look_at
from domino_lightning.curation.measures import CorpusMeasure, GVendi, Mauve
from domino_lightning.curation.measures.base import Measured
from domino_lightning.curation.measures.extra import Group, projection
from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_backbone, load_tokenizer
from domino_lightning.utils import packages
from tests.curation.test_corpus import records

TEXTS = ["def f(a):\n    return a + 1", "def g(b):\n    return [b] * 2", "x = {1: 2}", "x = {1: 2}"]


def gradients(spec: str, text: str) -> dict[str, torch.Tensor]:
    """Of the mean NLL of a text's tokens but the first, by the last layer's weights; the plain way."""
    model = load_backbone(spec)
    ids = torch.tensor([load_tokenizer(spec)(text).input_ids])
    model(input_ids=ids, labels=ids).loss.backward()
    layer: Any = model.model.layers[-1]
    return {name: weight.grad for name, weight in layer.named_parameters()}


def test_features_are_gradients_of_the_last_layer_projected_from_both_sides(tiny_backbone: Path) -> None:
    spec, side = str(tiny_backbone), 5
    expected = np.zeros((side, side))
    for name, gradient in gradients(spec, TEXTS[0]).items():
        left, right = projection(f"0.{name}", gradient, side)
        matrix = gradient.reshape(-1, gradient.shape[-1]).double()
        for row, column in np.ndindex(*matrix.shape):  # Σ G_ij a_i b_jᵀ
            expected += float(matrix[row, column]) * np.outer(left[row].double(), right[column].double())
    (found,) = GVendi(spec, side=side).features(TEXTS[:1])
    assert found == pytest.approx(expected.ravel() / np.linalg.norm(expected), abs=1e-4)


def test_projected_gradients_keep_their_cosines(tiny_backbone: Path) -> None:
    spec = str(tiny_backbone)
    flat = [torch.cat([part.ravel() for part in gradients(spec, text).values()]) for text in TEXTS[:3]]
    exact = torch.nn.functional.cosine_similarity(torch.stack(flat)[:, None], torch.stack(flat)[None], dim=-1)
    found = GVendi(spec, side=96).features(TEXTS[:3])
    assert found @ found.T == pytest.approx(exact.numpy(), abs=0.15)


def test_g_vendi_is_the_entropy_of_the_eigenvalues_of_cosines(tiny_backbone: Path) -> None:
    measure = GVendi(str(tiny_backbone))
    features = measure.features(TEXTS)
    values = np.linalg.eigvalsh(features @ features.T / 4)
    expected = math.exp(-sum(value * math.log(value) for value in values if value > 1e-12))
    group = Group(TEXTS, np.zeros((4, 2)))
    found = measure.measure(group, group, 0)["g_vendi"]
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert 1 < found.value < 3 + 1e-6  # two of the four are equal
    assert found.low < found.value < found.high
    assert measure.measure(Group([TEXTS[0]] * 3, group.vectors), group, 0)["g_vendi"].value == pytest.approx(1.0)


def test_a_text_without_two_tokens_has_no_gradient(tiny_backbone: Path) -> None:
    found = GVendi(str(tiny_backbone)).features(["", "a", "ab"])
    assert (found[:2] == 0).all() and np.linalg.norm(found[2]) == pytest.approx(1.0)


def test_more_layers_than_there_are_is_refused(tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match=r"GVendi: layers 3, but backbone '.*' has 2"):
        GVendi(str(tiny_backbone), layers=3).features(TEXTS)
    with pytest.raises(UserError, match=r"GVendi: layers 0 must be 1 or more"):
        GVendi(str(tiny_backbone), layers=0)
    assert set(GVendi.contents({"backbone": str(tiny_backbone)})) == {"backbone"}


def test_mauve_is_asked_for_references_and_group_in_the_corpus_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def compute_mauve(**settings: Any) -> Any:
        asked.append(settings)
        return SimpleNamespace(mauve=0.75)

    monkeypatch.setattr(packages, "is_there", lambda name: True)
    monkeypatch.setitem(sys.modules, "mauve", SimpleNamespace(compute_mauve=compute_mauve))
    group, references = Group(TEXTS, np.eye(4)), Group(TEXTS[:2], np.eye(4)[:2])
    found = Mauve().measure(group, references, 7)["mauve"]
    assert found.value == 0.75 and math.isnan(found.low)
    (settings,) = asked
    assert settings["p_features"] is references.vectors and settings["q_features"] is group.vectors
    assert (settings["num_buckets"], settings["seed"]) == ("auto", 7)
    assert math.isnan(Mauve().measure(Group([], np.zeros((0, 4))), references, 0)["mauve"].value)


def test_without_its_package_mauve_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_there", lambda name: False)
    with pytest.raises(UserError, match=r"Mauve needs the package mauve\. .*domino_lightning\[mauve\]"):
        Mauve()


class Count(CorpusMeasure):
    """A fork's measure."""

    def measure(self, group: Group, references: Group, seed: int) -> dict[str, Measured]:
        return {"count": Measured(len(group.texts) + len(references.vectors) / 10, math.nan, math.nan)}


class Taken(CorpusMeasure):
    def measure(self, group: Group, references: Group, seed: int) -> dict[str, Measured]:
        return {"vendi": Measured(1.0, 1.0, 1.0)}


def test_a_further_measure_stands_beside_the_others_with_its_floor() -> None:
    found = look_at(CodeExec(), records(5), records(4, 20), records(3, 30), further=[Count()])["measures"]["count"]
    assert found == {"value": 3.4, "low": None, "high": None, "floor_value": 3.4, "floor_low": None, "floor_high": None}


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(UserError, match=r"answer\.measures: two measures are called 'vendi'"):
        look_at(CodeExec(), records(5), records(4, 20), records(3, 30), further=[Taken()])
