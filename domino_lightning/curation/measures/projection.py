"""Where texts lie to each other, in a few dimensions: principal components for a map."""

from __future__ import annotations

import numpy as np

from domino_lightning.curation.measures.base import Floats

COMPONENTS = 10  # kept: two are drawn, and all are there for another projection


def components(references: Floats, *others: Floats, count: int = COMPONENTS) -> tuple[list[Floats], Floats]:
    """Coordinates of texts on the principal axes of the references, and each axis's share of their variance.

    The axes are fitted to the references alone, so that all that is compared with the same references in the same
    embedding lies on one map. An axis points to where its largest entry is positive.

    Args:
        references: (r, d) vectors.
        others: (n, d) each.
        count: axes at most; there are no more than the references differ in.

    Returns:
        (r, k) and (n, k) coordinates in this order, and (k,) shares.
    """
    groups = (references, *others)
    if not len(references):
        return [np.zeros((len(vectors), 0)) for vectors in groups], np.zeros(0)
    center = references.mean(axis=0)
    _, sizes, axes = np.linalg.svd(references - center, full_matrices=False)
    kept = min(count, int((sizes > 1e-9).sum()))
    axes = axes[:kept]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(kept), largest])[:, None]
    shares = sizes[:kept] ** 2 / max(float((sizes**2).sum()), 1e-300)
    return [(vectors - center) @ axes.T for vectors in groups], shares
