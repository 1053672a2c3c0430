"""Measures of variety: by hand, by loops, and what must hold of any corpus."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation.measures.base import Floats, among, distances, normalized
from domino_lightning.curation.measures.variety import chamfer, novelsum, remote_clique, variety, vendi_score


def drawn(count: int, seed: int, dimensions: int = 4) -> Floats:
    return normalized(np.random.default_rng(seed).random((count, dimensions)))


sizes, seeds = st.integers(2, 7), st.integers(0, 2**31)


def test_vendi_counts_what_has_nothing_in_common() -> None:
    assert vendi_score(np.eye(6)) == pytest.approx(6.0)
    assert vendi_score(np.ones((6, 6))) == pytest.approx(1.0)
    # Two kinds, three of each: eigenvalues 1/2 and 1/2.
    assert vendi_score(np.kron(np.eye(2), np.ones((3, 3)))) == pytest.approx(2.0)
    # Three of one and one of another: entropy of (3/4, 1/4).
    kernel = np.array([[1.0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
    assert vendi_score(kernel) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    # Cosine c between two: eigenvalues (1 + c)/2 and (1 - c)/2.
    high, low = 0.8, 0.2
    expected = math.exp(-(high * math.log(high) + low * math.log(low)))
    assert vendi_score(np.array([[1.0, 0.6], [0.6, 1.0]])) == pytest.approx(expected)


@given(sizes, seeds)
def test_vendi_lies_between_one_and_n_and_repeating_a_corpus_adds_nothing(count: int, seed: int) -> None:
    vectors = drawn(count, seed)
    once = vendi_score(vectors @ vectors.T)
    assert 1.0 - 1e-9 <= once <= count + 1e-9
    twice = np.concatenate([vectors, vectors])
    assert vendi_score(twice @ twice.T) == pytest.approx(once)


@given(sizes, seeds)
def test_mean_and_nearest_distances_by_loops(count: int, seed: int) -> None:
    vectors = drawn(count, seed)
    apart = [[1 - sum(a * b for a, b in zip(x, y, strict=True)) for y in vectors.tolist()] for x in vectors.tolist()]
    means = [sum(row[j] for j in range(count) if j != i) / (count - 1) for i, row in enumerate(apart)]
    nearest = [min(row[j] for j in range(count) if j != i) for i, row in enumerate(apart)]
    assert remote_clique(among(vectors)).tolist() == pytest.approx(means, abs=1e-9)
    assert chamfer(among(vectors)).tolist() == pytest.approx(nearest, abs=1e-9)


def test_novelsum_by_hand() -> None:
    # Items at distances 1/2 and 1 from the first: (1 · 1/2 + 1/2 · 1) / (1 + 1/2) = 2/3.
    apart = np.array([[0.0, 0.5, 1.0], [0.5, 0.0, 0.25], [1.0, 0.25, 0.0]])
    plain = [(0.5 + 1.0 / 2) / 1.5, (0.25 + 0.5 / 2) / 1.5, (0.25 + 1.0 / 2) / 1.5]
    assert novelsum(apart, np.zeros((3, 0))).tolist() == pytest.approx(plain)
    # References at 1/4 on average weigh by 1 / sqrt(1/4) = 2.
    near = np.array([[0.1, 0.4], [0.25, 0.25], [1.0, 1.0]])
    assert novelsum(apart, near).tolist() == pytest.approx([2 * plain[0], 2 * plain[1], plain[2]])
    # Without proximity all others weigh the same.
    assert novelsum(apart, near, proximity=0.0, density=0.0).tolist() == pytest.approx([0.75, 0.375, 0.625])


@given(sizes, st.integers(1, 14), seeds)
def test_novelsum_by_loops(count: int, references: int, seed: int) -> None:
    vectors, known = drawn(count, seed), drawn(references, seed + 1)
    expected = []
    for i in range(count):
        others = sorted(1 - float(vectors[i] @ vectors[j]) for j in range(count) if j != i)
        novelty = sum(far / rank for rank, far in enumerate(others, start=1))
        novelty /= sum(1 / rank for rank in range(1, count))
        near = sorted(1 - float(vectors[i] @ reference) for reference in known)[:10]
        expected.append(novelty / math.sqrt(max(sum(near) / len(near), 1e-9)))
    assert novelsum(among(vectors), distances(vectors, known)).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_copies_make_a_corpus_less_varied_by_every_measure() -> None:
    varied, references = drawn(12, 0, 12), drawn(5, 1, 12)
    copies = np.concatenate([varied[:4]] * 3)
    one, other = (variety(vectors, references, seed=0) for vectors in (varied, copies))
    assert all(one[name].value > other[name].value for name in ("vendi", "remote_clique", "chamfer", "novelsum"))
    assert other["chamfer"].value == 0.0
    assert other["vendi"].value <= 4.0 + 1e-9


@pytest.mark.parametrize("name", ["vendi", "remote_clique", "chamfer", "novelsum"])
def test_an_interval_holds_its_value_and_seeds_repeat(name: str) -> None:
    vectors, references = drawn(15, 3), drawn(6, 4)
    found = variety(vectors, references, seed=7)[name]
    assert found.low <= found.value <= found.high
    assert found == variety(vectors, references, seed=7)[name]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_items_give_no_number_or_no_interval(count: int) -> None:
    found = variety(drawn(count, 0), drawn(3, 1), seed=0)
    assert all(math.isnan(found[name].value) for name in ("remote_clique", "chamfer", "novelsum"))
    assert math.isnan(found["vendi"].low)
