"""Likeness of token sequences: against values by hand and against brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation.similarity import Nearest, Span, SpanIndex, copied, ngrams, similarity, tokens

words = st.lists(st.sampled_from("ab"), max_size=14)


def test_comments_and_layout_are_no_tokens() -> None:
    assert tokens("x  =  'a # b'  # c\n") == tokens("x='a # b'") == ["x", "=", "'a # b'"]


def test_similarity_is_twice_the_matches_over_all_tokens() -> None:
    # 3 matched tokens (a, +, b) of 3 and 5: 2*3/8
    assert similarity(tokens("a + b"), tokens("a + b + c")) == 0.75
    assert similarity(tokens("a"), tokens("b")) == 0.0


def test_the_nearest_reference_is_the_most_similar_one() -> None:
    rows = [("far", "while True: pass"), ("near", "def f(x): return x + 1")]
    found = Nearest(rows).find("def f(x): return x + 2")
    assert found is not None
    assert found[0] == "near"
    assert found[2] == 0.9  # 9 of 10 tokens on both sides
    assert Nearest([]).find("x") is None


def test_ngrams_are_the_windows_of_a_sequence() -> None:
    assert ngrams("abcd", 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert ngrams("ab", 3) == []


def test_the_longest_span_is_found_with_its_text() -> None:
    index = SpanIndex([("one", "xxabcxx"), ("two", "abcdy")], length=2)
    assert index.longest("zzabcdzz") == Span(4, "two")
    assert index.longest("zbcz") == Span(2, "one")
    assert index.longest("zaz") == Span(0, "")


@given(st.lists(words, max_size=4), words, st.integers(1, 4))
def test_span_and_overlap_equal_brute_force(texts: list[list[str]], query: list[str], length: int) -> None:
    index = SpanIndex(((str(number), text) for number, text in enumerate(texts)), length)
    windows = {tuple(text[i:j]) for text in texts for i in range(len(text)) for j in range(i + length, len(text) + 1)}
    longest = max(
        (j - i for i in range(len(query)) for j in range(i + 1, len(query) + 1) if tuple(query[i:j]) in windows),
        default=0,
    )
    assert index.longest(query).size == longest
    own = [tuple(query[i : i + length]) for i in range(len(query) - length + 1)]
    assert index.overlap(query) == (sum(gram in windows for gram in own) / len(own) if own else 0.0)


def test_what_is_copied_is_a_share_of_the_texts_own_tokens() -> None:
    # 6 of 8 tokens at a stretch; of the 5 four-grams of "abcdefyz" the first 3 stand in the other text.
    found = copied(SpanIndex([("r", "abcdefgh")], 4), "abcdefyz")
    assert (found.span, found.span_share, found.overlap) == (Span(6, "r"), 0.75, 0.6)
    assert copied(SpanIndex([], 4), "").span_share == 0.0
