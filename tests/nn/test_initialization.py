"""The tokens that are most a sample's own, by hand."""

from __future__ import annotations

import pytest

from domino_lightning.nn.initialization import keyword_ids

EOS = 0


def test_tokens_of_highest_tf_idf_in_order_of_appearance() -> None:
    # N = 3. 7 stands in all (idf 0), 5 in two (log 1.5 = 0.41), the others in one (log 3 = 1.10).
    texts = [[7, 5, 5, 5, 1, EOS], [7, 2, 5, 3, EOS], [7, 4, 4, EOS]]
    # Sample 0: 5 has 3 · 0.41 = 1.22, 1 has 1.10. Sample 1: 2 and 3 have 1.10. Sample 2: 4, then the first of the rest.
    assert keyword_ids(texts, [0, 1, 2], 2) == [[5, 1], [2, 3], [7, 4]]
    assert keyword_ids(texts, [0, 1, 2], 1) == [[5], [2], [4]]


def test_copies_of_a_sample_are_one_document() -> None:
    # Sample 0 has 1 and 2 once each in its two texts; 3 is in both samples.
    assert keyword_ids([[3, 1], [3, 2], [3, 4]], [0, 0, 1], 2) == [[1, 2], [3, 4]]


def test_a_sample_with_few_tokens_has_them_over_and_over() -> None:
    assert keyword_ids([[8, EOS], [9, 8, EOS]], [0, 1], 5) == [[8, 0, 8, 0, 8], [9, 8, 0, 9, 8]]


def test_what_every_sample_has_comes_last() -> None:
    texts = [[EOS, 1, 2], [EOS, 3, 4]]
    assert keyword_ids(texts, [0, 1], 2) == [[1, 2], [3, 4]]


def test_one_sample_alone_has_its_first_tokens() -> None:
    assert keyword_ids([[4, 5, 6]], [0], 2) == [[4, 5]]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_every_sample_gets_as_many(count: int) -> None:
    texts = [list(range(n, 2 * n + 1)) for n in range(1, 9)]
    assert [len(ids) for ids in keyword_ids(texts, list(range(8)), count)] == [count] * 8
