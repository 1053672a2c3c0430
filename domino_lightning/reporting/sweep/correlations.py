"""Which measure of a corpus goes with the coder's score: rank correlations over the arms of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from domino_lightning.curation.measures.base import Floats
from domino_lightning.evaluation.statistics import Estimate
from domino_lightning.reporting.corpus import MEASURES
from domino_lightning.reporting.sweep.arms import Arm
from domino_lightning.reporting.sweep.estimates import arm_scores
from domino_lightning.utils.seeding import derived_seed

FEWEST = 6  # arms below which no correlation is given
_RESAMPLES = 2000
_PREFIX = "answer/pairs/"


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ of one measure and one pass@k over arms, with its 95% bootstrap interval; `said` is instead of it.

    The ends are NaN where more than a tenth of the resamples of arms have no ρ, since all their values are equal.
    """

    estimate: Estimate
    arms: int
    said: str = ""


@dataclass(frozen=True)
class CorrelationRow:
    """A measure's correlations, one for each k."""

    name: str
    cells: list[Correlation]


def correlations(arms: Sequence[Arm], ks: Sequence[int]) -> list[CorrelationRow]:
    """Every measure of a corpus that an arm has, against pass@k; a point is an arm, the mean over its runs."""
    names = dict.fromkeys(
        key.removeprefix(_PREFIX)
        for arm in arms
        for run in arm.replicates
        for key in run.metrics
        if key.startswith(_PREFIX)
    )
    scores = {k: [score.estimate.value if score else nan for score in arm_scores(arms, k)] for k in ks}
    rows = []
    for name in names:
        values = [arm.values(_PREFIX + name) for arm in arms]
        means = [sum(found) / len(found) if found else nan for found in values]
        label = "Pairs" if name == "rows" else MEASURES.get(name, (name,))[0]
        rows.append(CorrelationRow(label, [correlation(means, scores[k]) for k in ks]))
    return rows


def correlation(measured: Sequence[float], scores: Sequence[float]) -> Correlation:
    """Spearman's ρ over the arms that have both numbers, with the percentile interval of 2000 resamples of arms.

    Args:
        measured: one value an arm, NaN where it has none.
        scores: the same.
    """
    from scipy.stats import spearmanr

    pairs = [pair for pair in zip(measured, scores, strict=True) if not any(map(isnan, pair))]
    none = Estimate(nan, nan, nan)
    if len(pairs) < FEWEST:
        return Correlation(none, len(pairs), "too few arms")
    left, right = np.array(pairs).T
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return Correlation(none, len(pairs), "all equal")
    dice = np.random.default_rng(derived_seed("correlation", len(pairs)))
    drawn = dice.integers(0, len(pairs), (_RESAMPLES, len(pairs)))
    found = _rank_correlations(left[drawn], right[drawn])
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) >= 0.9 * _RESAMPLES else (nan, nan)
    return Correlation(Estimate(float(spearmanr(left, right).statistic), float(low), float(high)), len(pairs))


def _rank_correlations(left: Floats, right: Floats) -> Floats:
    """(r,) Spearman's ρ of each row of two (r, n) tables; NaN where a row's values are all equal."""
    from scipy.stats import rankdata

    ranks = [rankdata(table, axis=1) for table in (left, right)]
    first, second = (table - table.mean(axis=1, keepdims=True) for table in ranks)
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.where(size > 0, (first * second).sum(axis=1) / np.where(size > 0, size, 1.0), nan)
