"""Filters against repetition within the candidates: equal records, and nearly equal ones."""

from __future__ import annotations

from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.curation.similarity import Gram, ngrams, tokens
from domino_lightning.utils.ranges import ONE_OR_MORE, UNIT_OPEN_LOW, Range, check_ranges

_HASHES = Range("from 2 to 10000", 2, 10**4)  # what the best bands of them are looked for among


class ExactDuplicate(Filter):
    """Rejects a record that equals an earlier candidate up to layout."""

    reason = "duplicate"

    def open(self, context: Context) -> None:
        """Start with nothing seen."""
        self.domain = context.domain
        self.seen: dict[str, str] = {}

    def reject(self, candidate: Candidate) -> str | None:
        """The first of equal records stays."""
        key = self.domain.canonical(candidate.record)
        first = self.seen.setdefault(key, candidate.row["id"])
        return None if first == candidate.row["id"] else f"same as {first}"


class NearDuplicate(Filter):
    """Rejects a record that shares most of its token n-grams with an earlier candidate that it let pass.

    MinHash with locality-sensitive hashing (datasketch) proposes earlier records; the exact Jaccard index of
    the n-gram sets decides, so no record is rejected by a hash collision. A pair just above the threshold may
    be missed.

    Args:
        threshold: Jaccard index in (0, 1] from which two records count as near-duplicates.
        ngram: tokens of an n-gram.
        num_perm: hash permutations; more find pairs more surely.
    """

    reason = "near_duplicate"

    def __init__(self, threshold: float = 0.8, ngram: int = 3, num_perm: int = 128) -> None:
        self.threshold, self.ngram, self.num_perm = threshold, ngram, num_perm
        check_ranges("NearDuplicate", self, threshold=UNIT_OPEN_LOW, ngram=ONE_OR_MORE, num_perm=_HASHES)

    def open(self, context: Context) -> None:
        """Start with an empty index."""
        from datasketch import MinHashLSH

        self.domain = context.domain
        self.index = MinHashLSH(threshold=self.threshold, num_perm=self.num_perm)
        self.seen: dict[str, frozenset[Gram]] = {}

    def reject(self, candidate: Candidate) -> str | None:
        """The first of near-duplicates stays."""
        from datasketch import MinHash

        words = tokens(self.domain.render(candidate.record))
        grams = frozenset(ngrams(words, self.ngram) or [tuple(words)])
        hashed = MinHash(num_perm=self.num_perm)
        hashed.update_batch(["\0".join(gram).encode("utf-8", "surrogatepass") for gram in sorted(grams)])
        likely = [(_jaccard(grams, self.seen[name]), name) for name in self.index.query(hashed)]
        best, name = min(((-score, name) for score, name in likely), default=(0.0, ""))
        if -best >= self.threshold:
            return f"Jaccard {-best:.2f} with {name}"
        self.seen[candidate.row["id"]] = grams
        self.index.insert(candidate.row["id"], hashed)
        return None


def _jaccard(left: frozenset[Gram], right: frozenset[Gram]) -> float:
    return len(left & right) / len(left | right)
