"""Vectors of texts: TF-IDF by hand, hidden states beside one text at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from domino_lightning.curation import HashedNgrams, HiddenStates
from domino_lightning.curation.measures.base import distances, normalized
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_backbone, load_tokenizer

TEXTS = ["def f(a):\n    return a + 1", "def g(b):\n    return [b] * 2", "x = {1: 2}"]


def test_tf_idf_by_hand() -> None:
    references, (first, second) = ["a b", "a c"], ("a a b", "d")
    known, found = HashedNgrams(orders=(1,)).embed(references, [first, second])
    # idf: a is in both, b and c in one, d in none of two references.
    a, b, d = 1.0, 1 + math.log(3 / 2), 1 + math.log(3)
    left, right = np.array([a, b]), np.array([(1 + math.log(2)) * a, b])
    expected = float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    assert distances(known[:1], found[:1])[0, 0] == pytest.approx(1 - expected)
    assert np.linalg.norm(found[1]) == pytest.approx(1.0) and found[1].max() == pytest.approx(1.0)
    assert distances(found[:1], found[1:])[0, 0] == 1.0  # nothing in common
    assert d > b > a


def test_comments_and_layout_make_no_difference_and_names_do() -> None:
    same = "def f(a):  # adds one\n        return a+1"
    known, others = HashedNgrams().embed(TEXTS, [same, TEXTS[0].replace("a", "z")])
    apart = distances(others, known)
    assert apart[0].argmin() == 0 and apart[0, 0] == 0.0
    assert 0.0 < apart[1, 0] < 1.0


def test_texts_without_a_token_are_alike_and_unlike_all_others() -> None:
    known, empty = HashedNgrams().embed(TEXTS, ["", "  # nothing\n"])
    assert distances(empty, empty).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert (distances(empty, known) == 1.0).all()


def test_vectors_do_not_depend_on_the_other_groups_or_on_the_process() -> None:
    known, others = HashedNgrams().embed(TEXTS, ["return [a]"])
    again, more, same = HashedNgrams().embed(TEXTS, ["x", "y = 2"], ["return [a]"])
    assert np.array_equal(known, again) and np.array_equal(others, same)
    assert len(more) == 2
    assert [len(group) for group in HashedNgrams().embed([], [])] == [0, 0]


def test_hidden_states_are_centered_means_over_each_text_alone(tiny_backbone: Path) -> None:
    spec = str(tiny_backbone)
    tokenizer, model = load_tokenizer(spec), load_backbone(spec).base_model
    means = []
    for text in [*TEXTS, "y"]:
        with torch.no_grad():
            ids = torch.tensor([tokenizer(text).input_ids[:9]])
            means.append(model(input_ids=ids).last_hidden_state[0].mean(dim=0).double().numpy())
    center = np.mean(means[:3], axis=0)
    known, others = HiddenStates(spec, max_length=9, batch_size=2).embed(TEXTS, ["y"])
    assert known == pytest.approx(normalized(np.array(means[:3]) - center), abs=1e-5)
    assert others == pytest.approx(normalized(np.array(means[3:]) - center), abs=1e-5)


def test_the_backbone_is_outside_content(tiny_backbone: Path) -> None:
    assert set(HiddenStates.contents({"backbone": str(tiny_backbone)})) == {"backbone"}
    assert HiddenStates.contents({}) == HashedNgrams.contents({"orders": [1]}) == {}


def test_settings_that_cannot_be_are_refused() -> None:
    for make in (lambda: HashedNgrams(orders=()), lambda: HashedNgrams(orders=(0,)), lambda: HashedNgrams((1,), 1)):
        with pytest.raises(UserError, match=r"answer\.embedding: (orders|dimensions 1 must)"):
            make()
    with pytest.raises(UserError, match=r"answer\.embedding: max_length 0"):
        HiddenStates("x", max_length=0)
