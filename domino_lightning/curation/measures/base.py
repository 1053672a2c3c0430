"""What measures share: values with intervals, and distances between vectors of texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domino_lightning.evaluation.statistics import cluster_mean
from domino_lightning.utils.seeding import derived_seed

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
_RESAMPLES = 200


class Measured(NamedTuple):
    """A value with its 95% interval; NaN where there is too little to take it over."""

    value: float
    low: float
    high: float


NOTHING = Measured(math.nan, math.nan, math.nan)


def mean_of(values: ArrayLike, most: float = math.inf) -> Measured:
    """The mean of one value an item, with its interval over items.

    Args:
        values: (n,) 0 or more.
        most: the largest possible value; inf where there is none.
    """
    listed: Floats = np.asarray(values, dtype=np.float64)
    if not len(listed):
        return NOTHING
    top = most if math.isfinite(most) else float(listed.max())
    return Measured(*cluster_mean(listed, bounds=(0.0, top)))


def of_all(measure: Callable[[Indices], float], count: int, seed: int) -> Measured:
    """A measure of `count` items together, give or take 1.96 bootstrap standard errors.

    A resample repeats items, which makes it less varied than the corpus; so its spread is used, not its level.

    Args:
        measure: of the items with these indices.
        count: n.
        seed: of the resampling.
    """
    value = measure(np.arange(count)) if count else math.nan
    if count < 2:
        return Measured(value, math.nan, math.nan)
    generator = np.random.default_rng(derived_seed("corpus", seed) % 2**32)
    draws = [measure(generator.integers(0, count, count)) for _ in range(_RESAMPLES)]
    error = 1.96 * float(np.std(draws, ddof=1))
    return Measured(value, value - error, value + error)


def named(measured: Measured, prefix: str = "") -> dict[str, float | None]:
    """JSON has no NaN: None."""
    return {
        f"{prefix}{name}": round(value, 6) if math.isfinite(value) else None
        for name, value in measured._asdict().items()
    }


def chosen(texts: Sequence[list[str]], indices: Indices) -> list[list[str]]:
    """The texts with these indices."""
    return [texts[index] for index in indices]


def normalized(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def distances(left: Floats, right: Floats) -> Floats:
    """(n, m) cosine distances, 1 − cosine, of (n, d) and (m, d) vectors of length 1; equal ones are at exactly 0."""
    return np.maximum(np.round(1.0 - left @ right.T, 12), 0.0)


def among(vectors: Floats) -> Floats:
    """(n, n) cosine distances of n vectors to each other, 0 to themselves, also for a vector of zeros."""
    apart = distances(vectors, vectors)
    np.fill_diagonal(apart, 0.0)
    return apart
