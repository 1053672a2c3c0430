"""Filters against copies of the references: whole functions, and long stretches of tokens."""

from __future__ import annotations

from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.curation.similarity import SpanIndex, copied, tokens
from domino_lightning.errors import UserError


class CopiedFromReference(Filter):
    """Rejects a record whose essence (for code: the function, up to layout and names) is a reference's."""

    reason = "copied"

    def open(self, context: Context) -> None:
        """Index the references."""
        self.domain = context.domain
        self.known = {context.domain.copied_part(record): record["id"] for record in context.references}

    def reject(self, candidate: Candidate) -> str | None:
        """By the domain's key of what must be new."""
        source = self.known.get(self.domain.copied_part(candidate.record))
        return None if source is None else f"same as reference {source}"


class Memorised(Filter):
    """Rejects a record that repeats much of the references word by word.

    Two measures on the tokens of the program or problem statement: the longest span that it has in common
    with one reference, as a share of its own tokens, and the share of its n-grams that occur in any
    reference. docs/curation.md has both for held-out records, the floor that unrelated records reach.

    Args:
        max_span: a common span longer than this share of the record's tokens rejects it,
        min_span: if it has so many tokens; `def f(a, b): return` alone is most of a very short function.
        max_overlap: a larger share of n-grams found in references rejects it.
        ngram: tokens of an n-gram.
    """

    reason = "memorised"
    coded = True

    def __init__(self, max_span: float = 0.6, min_span: int = 16, max_overlap: float = 0.5, ngram: int = 8) -> None:
        if not 0 < max_span <= 1 or not 0 < max_overlap <= 1 or not 1 <= ngram <= min_span:
            raise UserError(
                f"Memorised: max_span {max_span} and max_overlap {max_overlap} must be in (0, 1], "
                f"ngram {ngram} 1 or more and at most min_span {min_span}."
            )
        self.max_span, self.min_span = max_span, min_span
        self.max_overlap, self.ngram = max_overlap, ngram

    def open(self, context: Context) -> None:
        """Index the references' tokens."""
        texts = {context.domain.subject(record): str(record["id"]) for record in reversed(context.references)}
        self.index = SpanIndex(((name, tokens(text)) for text, name in texts.items()), self.ngram)

    def reject(self, candidate: Candidate) -> str | None:
        """By both measures; the span first."""
        return self.problem(candidate.tokens)

    def problem(self, words: list[str]) -> str | None:
        """What is memorised about a token sequence, or None."""
        found = copied(self.index, words)
        if found.span_share > self.max_span and found.span.size >= self.min_span:
            return f"span: {found.span.size} of {len(words)} tokens stand in reference {found.span.source}"
        if found.overlap > self.max_overlap:
            return f"overlap: {found.overlap:.0%} of its {self.ngram}-grams stand in references"
        return None
