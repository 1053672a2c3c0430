"""How a corpus lies to the references and to held-out data: fidelity, coverage, novelty, support."""

from __future__ import annotations

import numpy as np

from domino_lightning.curation.measures.base import Floats, Measured, among, distances, mean_of

NEIGHBORS = 5  # k of all four, as in Naeem et al.


def coverage(vectors: Floats, references: Floats) -> dict[str, Measured]:
    """`precision`, `recall`, `density`, `coverage` and `novelty` (mean distance to the nearest reference) of a corpus.

    A ball around an item reaches to its k-th nearest other item of the same set; k is 5, or less in a smaller set.
    Precision, recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020, arXiv
    2002.09797) are shares, but density, which may exceed 1. Their intervals are over the items that are counted:
    of the corpus for precision, density and novelty, of the references for recall and coverage. NaN where a set
    has fewer than two items.

    Args:
        vectors: (n, d) of the corpus, of length 1.
        references: (r, d).
    """
    between = distances(vectors, references)
    found: dict[str, Floats] = dict.fromkeys(("precision", "recall", "density", "coverage"), np.array([]))
    if min(between.shape) >= 2:
        found = prdc(among(references), among(vectors), between)
    measured = {name: mean_of(values, np.inf if name == "density" else 1.0) for name, values in found.items()}
    measured["novelty"] = mean_of(between.min(axis=1) if between.shape[1] else [], 2.0)
    return measured


def prdc(real: Floats, synthetic: Floats, between: Floats, k: int = NEIGHBORS) -> dict[str, Floats]:
    """One value an item; the means are the measures.

    - `precision` (n,): 1 where a synthetic item lies in the ball of any real one.
    - `recall` (r,): 1 where a real item lies in the ball of any synthetic one.
    - `density` (n,): in how many real balls a synthetic item lies, over k.
    - `coverage` (r,): 1 where the ball of a real item holds any synthetic one.

    Args:
        real: (r, r) distances, r of 2 or more.
        synthetic: (n, n) distances, n of 2 or more.
        between: (n, r) distances of synthetic to real items.
        k: which nearest neighbor a ball reaches to; at most r − 1 and n − 1.
    """
    k_real = min(k, len(real) - 1)
    in_real = between <= _radii(real, k_real)[None, :]
    in_synthetic = between <= _radii(synthetic, min(k, len(synthetic) - 1))[:, None]
    return {
        "precision": in_real.any(axis=1).astype(np.float64),
        "recall": in_synthetic.any(axis=0).astype(np.float64),
        "density": in_real.sum(axis=1) / k_real,
        "coverage": in_real.any(axis=0).astype(np.float64),
    }


def support(to_synthetic: Floats, to_references: Floats) -> Floats:
    """(h,) 1 where a held-out item's nearest neighbor is synthetic, 0 where it is a reference, ½ where it is both.

    The mean over held-out items says whether the corpus reaches what the references do not. As many fresh items of
    the domain in its place would give about ½: they are as likely to be nearest.

    Args:
        to_synthetic: (h, m) distances of held-out items; inf where an item must not count.
        to_references: (h, m) distances to equally many, since the larger set is nearer by its number alone.
    """
    synthetic, reference = to_synthetic.min(axis=1), to_references.min(axis=1)
    return np.where(synthetic == reference, 0.5, (synthetic < reference).astype(np.float64))


def _radii(apart: Floats, k: int) -> Floats:
    """(n,) distance of each item to its k-th nearest other; the nearest of a row is the item itself."""
    return np.sort(apart, axis=1)[:, k]
