"""Measures of wording, over token sequences: distinct n-grams, compression, self-BLEU."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import partial

from domino_lightning.curation.measures.base import Indices, Measured, chosen, mean_of, of_all
from domino_lightning.curation.similarity import ngrams

ORDERS = (1, 2, 3, 4)
Words = list[str]


def wording(words: Sequence[Words], budget: int, seed: int) -> dict[str, Measured]:
    """`distinct_n` and `compression_ratio` of the first `budget` tokens of all texts, `self_bleu` of whole texts."""
    first = _cut(words, budget)
    found = {f"distinct_{order}": of_all(partial(_distinct, first, order), len(first), seed) for order in ORDERS}
    found["compression_ratio"] = of_all(
        lambda rows: compression_ratio([" ".join(each) for each in chosen(first, rows)]), len(first), seed
    )
    found["self_bleu"] = mean_of(self_bleu(words), 100.0)
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


def _distinct(texts: Sequence[Words], order: int, rows: Indices) -> float:
    return distinct(chosen(texts, rows), order)


def _cut(texts: Sequence[Words], budget: int) -> list[Words]:
    """The first texts with so many tokens in all, the last of them cut."""
    kept: list[Words] = []
    for words in texts:
        if budget > 0:
            kept.append(words[:budget])
            budget -= len(words)
    return kept
