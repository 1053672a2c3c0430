"""Measures of variety of one corpus, over vectors of its items: effective number, spread, weighted novelty."""

from __future__ import annotations

import numpy as np

from domino_lightning.curation.measures.base import Floats, Indices, Measured, among, distances, mean_of, of_all

_NEIGHBORS = 10  # of NovelSum's density, as in its paper


def variety(vectors: Floats, references: Floats, seed: int) -> dict[str, Measured]:
    """`vendi`, `remote_clique`, `chamfer` and `novelsum` of (n, d) vectors of length 1; NaN below two items.

    All depend on n, so they are compared at equal n.

    Args:
        vectors: (n, d) of the corpus.
        references: (r, d), whose density weighs novelty.
        seed: of the resampling.
    """
    apart = among(vectors)
    similar = 1.0 - apart

    def vendi(rows: Indices) -> float:
        return vendi_score(similar[np.ix_(rows, rows)])

    return {
        "vendi": of_all(vendi, len(vectors), seed),
        "remote_clique": mean_of(remote_clique(apart), 2.0),
        "chamfer": mean_of(chamfer(apart), 2.0),
        "novelsum": mean_of(novelsum(apart, distances(vectors, references))),
    }


def vendi_score(kernel: Floats) -> float:
    """exp of the entropy of the eigenvalues of K / n (Friedman and Dieng 2023, arXiv 2210.02410): items that differ.

    In [1, n]: 1 where all items are equal, n where no two have anything in common.

    Args:
        kernel: (n, n) similarities, positive semidefinite, 1 on the diagonal.
    """
    values = np.linalg.eigvalsh(kernel / len(kernel))
    positive = values[values > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def remote_clique(apart: Floats) -> Floats:
    """(n,) mean distance of each item to all others; their mean is the measure (Cox et al. 2021, arXiv 2101.06030).

    Args:
        apart: (n, n) distances.
    """
    return np.array([]) if len(apart) < 2 else _others(apart).mean(axis=1)


def chamfer(apart: Floats) -> Floats:
    """(n,) distance of each item to the nearest other; their mean is the measure (Cox et al. 2021, arXiv 2101.06030).

    Args:
        apart: (n, n) distances.
    """
    return np.array([]) if len(apart) < 2 else _others(apart).min(axis=1)


def novelsum(apart: Floats, to_references: Floats, proximity: float = 1.0, density: float = 0.5) -> Floats:
    """(n,) novelty of each item; their mean is the measure (Yang et al. 2025, arXiv 2502.17184, α = 1, β = 0.5).

    An item's novelty is its distance to all others, the r-th nearest weighing 1 / r^α, times σ^β, where σ is one
    over its mean distance to its 10 nearest references: differences count for more where the domain is dense. An
    item is no neighbor of its own, other than in the authors' code. 0 or more, without unit.

    Args:
        apart: (n, n) distances.
        to_references: (n, r) distances; without references density plays no part.
        proximity: α.
        density: β.
    """
    if len(apart) < 2:
        return np.array([])
    weights = 1.0 / np.arange(1, len(apart)) ** proximity
    novelty = np.sort(_others(apart), axis=1) @ weights / weights.sum()
    if not to_references.shape[1]:
        return novelty
    near = np.sort(to_references, axis=1)[:, :_NEIGHBORS].mean(axis=1)
    return novelty / np.maximum(near, 1e-9) ** density


def _others(apart: Floats) -> Floats:
    """(n, n − 1): a square table without its diagonal."""
    return apart[~np.eye(len(apart), dtype=bool)].reshape(len(apart), -1)
