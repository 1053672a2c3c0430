"""Likeness of programs as token sequences: shared n-grams, longest common spans, the nearest of many texts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

# Close to Python's own tokens, and defined for code that does not parse and for prose.
_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*|[^\W\d]\w*|\d+(?:\.\d+)?|\S")
_PREFILTER = 25

Tokens = Sequence[str]
Gram = tuple[str, ...]


def tokens(text: str) -> list[str]:
    """The tokens of a text without its comments and layout."""
    return [token for token in _TOKEN.findall(text) if not token.startswith("#")]


def ngrams(words: Tokens, length: int) -> list[Gram]:
    """All n-grams of a token sequence in order; none if it is shorter than `length`."""
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def similarity(left: Tokens, right: Tokens) -> float:
    """2·M/T of difflib over two token lists (M matched tokens, T tokens of both), in [0, 1]."""
    return SequenceMatcher(None, left, right, autojunk=False).ratio()


class Span(NamedTuple):
    """The longest run of tokens that a text shares with one of many others; size 0 if there is none."""

    size: int
    source: str


class SpanIndex:
    """Token sequences, ready to be searched for what another one copies from them.

    Args:
        texts: (id, tokens) of each.
        length: tokens of an n-gram; shorter common spans are not found.
    """

    def __init__(self, texts: Iterable[tuple[str, Tokens]], length: int = 8) -> None:
        self.length = length
        self.texts = list(texts)
        self.places: defaultdict[Gram, list[tuple[int, int]]] = defaultdict(list)
        for number, (_, words) in enumerate(self.texts):
            for start, gram in enumerate(ngrams(words, length)):
                self.places[gram].append((number, start))

    def longest(self, words: Tokens) -> Span:
        """The longest common span of at least `length` tokens, with the first text that has it."""
        best = Span(0, "")
        for start, gram in enumerate(ngrams(words, self.length)):
            for number, place in self.places.get(gram, ()):
                other = self.texts[number][1]
                if start and place and words[start - 1] == other[place - 1]:
                    continue  # seen whole from where it begins
                size = self.length
                limit = min(len(words) - start, len(other) - place)
                while size < limit and words[start + size] == other[place + size]:
                    size += 1
                if size > best.size:
                    best = Span(size, self.texts[number][0])
        return best

    def overlap(self, words: Tokens) -> float:
        """Share of the text's n-grams that occur in any of the others, in [0, 1]; 0 without n-grams."""
        grams = ngrams(words, self.length)
        return sum(gram in self.places for gram in grams) / len(grams) if grams else 0.0


class Copied(NamedTuple):
    """How much of a text stands in others word by word: `span` tokens at a stretch, `overlap` of its n-grams."""

    span: Span
    span_share: float
    overlap: float


def copied(index: SpanIndex, words: Tokens) -> Copied:
    """Measure a text against an index."""
    span = index.longest(words)
    return Copied(span, span.size / len(words) if words else 0.0, index.overlap(words))


class Nearest:
    """Distinct texts, ready to be searched for the most similar one.

    Args:
        texts: (id, text) of each; the first id of equal texts counts.
    """

    def __init__(self, texts: Sequence[tuple[str, str]]) -> None:
        distinct = {text: row_id for row_id, text in reversed(texts)}
        self.entries = [(row_id, text, tokens(text)) for text, row_id in distinct.items() if text]
        self.bags = [Counter(entry[2]) for entry in self.entries]

    def find(self, text: str) -> tuple[str, str, float] | None:
        """(id, text, similarity) of the most similar one; the first by id of equals.

        The exact comparison is made on the 25 texts with the largest Jaccard index of token counts.
        """
        words = tokens(text)
        bag = Counter(words)
        ranked = sorted(range(len(self.entries)), key=lambda index: -_jaccard(bag, self.bags[index]))
        likely = [self.entries[index] for index in ranked[:_PREFILTER]]
        scored = [(similarity(words, entry[2]), entry) for entry in likely]
        if not scored:
            return None
        best, entry = min(scored, key=lambda pair: (-pair[0], pair[1][0]))
        return entry[0], entry[1], best


def _jaccard(left: Counter[str], right: Counter[str]) -> float:
    union = (left | right).total()
    return (left & right).total() / union if union else 0.0
