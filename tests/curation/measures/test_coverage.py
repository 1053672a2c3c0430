"""Precision, recall, density, coverage, novelty and support: by hand, by loops, and at their ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation.measures.base import Floats, among, distances, normalized
from domino_lightning.curation.measures.coverage import coverage, prdc, support

NAMES = ("precision", "recall", "density", "coverage")


def on_a_line(left: list[float], right: list[float]) -> Floats:
    return np.abs(np.array(left)[:, None] - np.array(right)[None, :])


def of_lines(real: list[float], synthetic: list[float], k: int) -> dict[str, list[float]]:
    found = prdc(on_a_line(real, real), on_a_line(synthetic, synthetic), on_a_line(synthetic, real), k)
    return {name: values.tolist() for name, values in found.items()}


def test_by_hand_on_a_line() -> None:
    # Balls to the nearest other: around 0 and 1 of radius 1, around 5 of radius 4; around 0.5 and 9 of 8.5.
    found = of_lines([0.0, 1.0, 5.0], [0.5, 9.0], k=1)
    assert found == {
        "precision": [1.0, 1.0],  # 0.5 in the balls of 0 and 1, 9 on the edge of that of 5
        "recall": [1.0, 1.0, 1.0],
        "density": [2.0, 1.0],
        "coverage": [1.0, 1.0, 1.0],
    }
    far = of_lines([0.0, 1.0, 5.0], [30.0, 31.0], k=1)
    assert far == {"precision": [0.0] * 2, "recall": [0.0] * 3, "density": [0.0] * 2, "coverage": [0.0] * 3}


def test_one_mode_of_two_is_precise_and_covers_half() -> None:
    real, synthetic = [0.0, 1.0, 2.0, 100.0, 101.0, 102.0], [0.0, 0.5, 1.0, 1.5]
    found = {name: float(np.mean(values)) for name, values in of_lines(real, synthetic, k=2).items()}
    assert found["precision"] == 1.0
    assert found["recall"] == found["coverage"] == 0.5


@given(st.integers(2, 7), st.integers(2, 7), st.integers(1, 6), st.integers(0, 2**31))
def test_by_loops(real_count: int, synthetic_count: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    # Whole numbers, so that items meet and stand on the edge of balls.
    real, synthetic = (random.integers(0, 12, n).astype(float).tolist() for n in (real_count, synthetic_count))

    def radius(items: list[float], i: int) -> float:
        others = sorted(abs(items[i] - items[j]) for j in range(len(items)) if j != i)
        return others[min(k, len(others)) - 1]

    def held(center: list[float], i: int, item: float) -> bool:
        return abs(center[i] - item) <= radius(center, i)

    in_real = [[held(real, i, item) for i in range(real_count)] for item in synthetic]
    in_synthetic = [[held(synthetic, j, item) for j in range(synthetic_count)] for item in real]
    assert of_lines(real, synthetic, k) == {
        "precision": [float(any(row)) for row in in_real],
        "recall": [float(any(row)) for row in in_synthetic],
        "density": [sum(row) / min(k, real_count - 1) for row in in_real],
        "coverage": [float(any(row[i] for row in in_real)) for i in range(real_count)],
    }


def test_the_references_themselves_score_full_marks_and_have_no_novelty() -> None:
    references = normalized(np.random.default_rng(0).random((9, 5)))
    found = coverage(references, references)
    assert [found[name].value for name in ("precision", "recall", "coverage", "novelty")] == [1.0, 1.0, 1.0, 0.0]
    assert found["density"].value >= 1.0


def test_novelty_is_the_mean_distance_to_the_nearest_reference() -> None:
    references = np.eye(3)
    items = normalized(np.array([[1.0, 0, 0], [1.0, 1, 0], [0, 3.0, 4.0]]))
    found = coverage(items, references)["novelty"]
    assert found.value == pytest.approx((0 + (1 - math.sqrt(0.5)) + (1 - 0.8)) / 3)
    assert found.low <= found.value <= found.high


def test_too_few_items_give_no_number() -> None:
    for items, references in ((1, 4), (4, 1), (0, 4)):
        found = coverage(np.eye(5)[:items], np.eye(5)[:references])
        assert all(math.isnan(found[name].value) for name in NAMES)


def test_support_is_the_share_of_heldout_items_that_synthetic_ones_are_nearer_to() -> None:
    heldout, references, synthetic = [0.0, 10.0, 20.0, 30.0], [1.0, 29.0], [9.0, 32.0]
    values = support(on_a_line(heldout, synthetic), on_a_line(heldout, references))
    assert values.tolist() == [0.0, 1.0, 0.0, 0.0]  # 20 is 11 from 9 and 9 from 29
    halfway = support(on_a_line([5.0], [4.0]), on_a_line([5.0], [6.0]))
    assert halfway.tolist() == [0.5]


def test_support_of_copies_of_the_references_and_of_fresh_data_is_a_half() -> None:
    random = np.random.default_rng(0)
    fresh, references, heldout = (normalized(random.random((400, 6))) for _ in range(3))
    to_references = distances(heldout, references)
    assert support(to_references, to_references).tolist() == [0.5] * 400
    assert support(distances(heldout, fresh), to_references).mean() == pytest.approx(0.5, abs=0.08)
    others = among(heldout)
    np.fill_diagonal(others, np.inf)
    assert support(others, to_references).mean() == pytest.approx(0.5, abs=0.08)
