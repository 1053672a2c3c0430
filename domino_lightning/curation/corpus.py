"""A first look at a synthetic corpus: how varied it is, and how close to the references, beside real held-out data.

Most such numbers depend on how much text they are taken over, and none means much by itself. So each is taken over
equally many functions (or problems) of the synthetic and of the held-out records, one row of each (distinct-n and
compression over equally many tokens of them), and the held-out ones are the floor: what fresh data of the domain has
in common with the references and with itself.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from domino_lightning.curation.filters.base import Context
from domino_lightning.curation.filters.copies import Memorised
from domino_lightning.curation.similarity import Nearest, ngrams, tokens
from domino_lightning.domains.base import Domain
from domino_lightning.evaluation.statistics import cluster_mean
from domino_lightning.utils.jsonl import Record, sha256_text
from domino_lightning.utils.seeding import derived_seed

MAX_COMPARED = 100  # self-BLEU takes quadratic time
ORDERS = (1, 2, 3, 4)
_RESAMPLES = 200


class Measured(NamedTuple):
    """A value with its 95% interval; NaN where there is too little to take it over."""

    value: float
    low: float
    high: float


Words = list[str]


def look_at(
    domain: Domain, synthetic: Sequence[Record], references: Sequence[Record], heldout: Sequence[Record], seed: int = 0
) -> dict[str, Any]:
    """What `corpus.json` holds: counts, and each measure of the synthetic records beside that of held-out ones.

    Measures: `length` (tokens of a text), `distinct_n` (share of n-grams that differ), `compression_ratio` (bytes
    over compressed bytes; more is more repetitive), `self_bleu` (mean BLEU of each text against the others, 0 to 100),
    `reference_similarity` (mean similarity of each text to its nearest reference, 0 to 1), `memorised` (share that
    the filter `Memorised` with its defaults would reject).

    Args:
        domain: of the records.
        synthetic: the corpus.
        references: what it was learned from.
        heldout: real records of other groups.
        seed: of the choice of functions and the resampling.
    """
    ours, real, known = (_one_of_each(rows, domain, seed) for rows in (synthetic, heldout, references))
    compared = min(len(ours), len(real), MAX_COMPARED)
    result: dict[str, Any] = {
        "rows": len(synthetic),
        "functions": len(ours),
        "references": len(known),
        "compared": compared,
        "measures": {},
    }
    if compared:
        nearest = Nearest([(str(row["id"]), domain.subject(row)) for row in references])
        rule = Memorised()
        rule.open(Context(domain, references))
        both = [[domain.subject(row) for row in rows[:compared]] for rows in (ours, real)]
        budget = min(sum(len(tokens(text)) for text in texts) for texts in both)
        taken = [measures(texts, nearest, rule, seed, budget) for texts in both]
        result["measures"] = {name: {**_named(taken[0][name]), **_named(taken[1][name], "floor_")} for name in taken[0]}
    return result


def measures(texts: Sequence[str], nearest: Nearest, rule: Memorised, seed: int, budget: int) -> dict[str, Measured]:
    """Every measure of the subjects of groups; those of the corpus as a whole over its first `budget` tokens."""
    words = [tokens(text) for text in texts]
    similar = [near[2] if (near := nearest.find(text)) else 0.0 for text in texts]
    first = _cut(words, budget)
    copied = [float(rule.problem(each) is not None) for each in words]
    found = {"length": _mean([float(len(each)) for each in words], math.inf)}
    for order in ORDERS:
        found[f"distinct_{order}"] = _whole(partial(distinct, order=order), first, seed)
    found["compression_ratio"] = _whole(
        lambda sample: compression_ratio([" ".join(each) for each in sample]), first, seed
    )
    found["self_bleu"] = _mean(self_bleu(words), 100.0)
    found["reference_similarity"] = _mean(similar, 1.0)
    found["memorised"] = _mean(copied, 1.0)
    return found


def distinct(texts: Sequence[Words], order: int) -> float:
    """Different n-grams as a share of all n-grams (Li et al. 2016, arXiv 1510.03055); NaN without any."""
    grams = [gram for words in texts for gram in ngrams(words, order)]
    return len(set(grams)) / len(grams) if grams else math.nan


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of the texts over their bytes compressed as one (Shaib et al. 2024, arXiv 2403.00553)."""
    joined = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(joined) / len(zlib.compress(joined, 9)) if joined else math.nan


def self_bleu(texts: Sequence[Words]) -> list[float]:
    """BLEU-4 of each text against all others (Zhu et al. 2018, arXiv 1802.01886), 0 to 100; none for a single text."""
    from sacrebleu.metrics.bleu import BLEU

    if len(texts) < 2:
        return []
    metric = BLEU(tokenize="none", effective_order=True)
    joined = [" ".join(words) for words in texts]
    return [
        float(metric.sentence_score(text, joined[:index] + joined[index + 1 :]).score)
        for index, text in enumerate(joined)
    ]


def _cut(texts: Sequence[Words], budget: int) -> list[Words]:
    """The first texts with so many tokens in all, the last of them cut."""
    kept: list[Words] = []
    for words in texts:
        if budget > 0:
            kept.append(words[:budget])
            budget -= len(words)
    return kept


def _one_of_each(rows: Sequence[Record], domain: Domain, seed: int) -> list[Record]:
    """The first record of each group, groups in the order of their hash."""
    first: dict[str, Record] = {}
    for row in rows:
        first.setdefault(str(row.get("group") or domain.subject(row)), row)
    return [first[group] for group in sorted(first, key=lambda group: sha256_text(f"corpus/{seed}/{group}"))]


def _mean(values: Sequence[float], most: float) -> Measured:
    """The mean of one value a text, with its interval."""
    if not values:
        return Measured(math.nan, math.nan, math.nan)
    top = most if math.isfinite(most) else max(values)
    return Measured(*cluster_mean(values, bounds=(0.0, top)))


def _whole(measure: Callable[[Sequence[Words]], float], texts: Sequence[Words], seed: int) -> Measured:
    """A measure of all texts together, give or take 1.96 bootstrap standard errors.

    A resample repeats texts, which makes it less varied than the corpus; so its spread is used, not its level.
    """
    value = measure(texts)
    if len(texts) < 2:
        return Measured(value, math.nan, math.nan)
    generator = np.random.default_rng(derived_seed("corpus", seed) % 2**32)
    draws = [
        measure([texts[index] for index in generator.integers(0, len(texts), len(texts))]) for _ in range(_RESAMPLES)
    ]
    error = 1.96 * float(np.std(draws, ddof=1))
    return Measured(value, value - error, value + error)


def _named(measured: Measured, prefix: str = "") -> dict[str, float | None]:
    """JSON has no NaN: None."""
    return {
        f"{prefix}{name}": round(value, 6) if math.isfinite(value) else None
        for name, value in measured._asdict().items()
    }
