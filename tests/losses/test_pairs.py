"""Which pairs a loss is shown: modes, what counts, and determinism by (seed, step, sample)."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.nn import PairIndex, choose_pairs


def chosen(
    samples: list[int],
    pairs: object,
    valid: list[bool] | None = None,
    seed: int = 0,
    step: int = 0,
    varies: Literal["prompt", "text"] = "prompt",
) -> PairIndex:
    mask = torch.tensor(valid if valid is not None else [True] * len(samples))
    index = choose_pairs(torch.tensor(samples), mask, pairs, seed, step, varies)  # type: ignore[arg-type]
    assert index is not None
    return index


def test_none_asks_for_no_pairs() -> None:
    assert choose_pairs(torch.tensor([0, 1]), torch.tensor([True, True]), "none", 0, 0) is None


def test_own_is_one_column_of_own_prompts() -> None:
    index = chosen([4, 9, 4], "own")
    assert index.prompt_row.tolist() == [[0], [1], [2]]
    assert index.is_own.tolist() == index.valid.tolist() == [[True]] * 3


def test_all_pairs_text_i_with_the_prompt_of_row_k() -> None:
    index = chosen([4, 9, 5], "all")
    assert index.prompt_row.tolist() == [[0, 1, 2]] * 3
    assert index.is_own.tolist() == torch.eye(3).bool().tolist()
    assert index.valid.all()


def test_copies_of_a_sample_and_padding_do_not_count() -> None:
    index = chosen([4, 4, 5, 0], "all", valid=[True, True, True, False])
    assert index.valid.tolist() == [
        [True, False, True, False],
        [False, True, True, False],
        [True, True, True, False],
        [False, False, False, False],
    ]
    assert index.is_own.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, False, False],
    ]


@pytest.mark.parametrize(("negatives", "columns"), [(1, 2), (3, 4), (4, 5), (5, 5), (100, 5)])
def test_a_number_of_negatives_gives_own_first_and_at_most_b_columns(negatives: int, columns: int) -> None:
    index = chosen([0, 1, 2, 3, 4], negatives)
    assert index.prompt_row.shape == (5, columns)
    assert index.prompt_row[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert index.is_own.tolist() == [[True] + [False] * (columns - 1)] * 5
    assert index.valid.all()
    for row in index.prompt_row.tolist():
        assert len(set(row)) == columns


def test_a_batch_of_one_has_only_its_own_prompt() -> None:
    for pairs in ("own", "all", 1, 7):
        index = chosen([3], pairs)
        assert index.prompt_row.tolist() == [[0]]
        assert index.is_own.tolist() == index.valid.tolist() == [[True]]


def test_copies_and_padding_are_taken_only_when_nothing_else_is_left() -> None:
    samples, valid = [7, 7, 7, 1, 2], [True, True, True, True, False]
    for step in range(20):
        one = chosen(samples, 1, valid, step=step)
        # Row 3's sample is the only negative there is for a text of sample 7.
        assert one.prompt_row[:3, 1].tolist() == [3, 3, 3]
        assert one.valid[:4].all()
        assert one.prompt_row[3, 1].item() in {0, 1, 2}
    full = chosen(samples, 4, valid)
    assert full.valid[0].tolist() == [True, True, False, False, False]
    assert full.valid[3].tolist().count(True) == 4
    assert not full.valid[4].any()
    assert not full.is_own[4].any()


@given(st.permutations(range(6)), st.integers(1, 5), st.integers(0, 50))
def test_all_rows_keep_their_number_of_columns_and_valid_negatives_in_any_order(
    order: list[int], negatives: int, step: int
) -> None:
    index = chosen(list(order), negatives, step=step)
    assert index.prompt_row.shape == (6, 1 + negatives)
    assert index.valid.all()


@given(st.integers(0, 100), st.integers(0, 100))
def test_pairs_are_a_function_of_seed_step_and_sample(seed: int, step: int) -> None:
    first, again = (chosen([5, 2, 8, 1], 2, seed=seed, step=step) for _ in range(2))
    torch.manual_seed(step)  # global random state plays no part
    assert torch.equal(first.prompt_row, again.prompt_row)
    assert torch.equal(first.prompt_row, chosen([5, 2, 8, 1], 2, seed=seed, step=step).prompt_row)


@given(st.permutations([5, 2, 8, 1, 30]), st.integers(0, 20))
def test_the_negatives_of_a_sample_do_not_depend_on_the_order_of_rows(order: list[int], step: int) -> None:
    def negatives(samples: list[int]) -> dict[int, list[int]]:
        table = chosen(samples, 2, step=step).prompt_row.tolist()
        return {samples[row[0]]: [samples[k] for k in row[1:]] for row in table}

    assert negatives(list(order)) == negatives([5, 2, 8, 1, 30])


def test_negatives_change_from_step_to_step_and_are_about_evenly_drawn() -> None:
    counts = Counter(chosen([0, 1, 2, 3], 1, step=step).prompt_row[0, 1].item() for step in range(300))
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 60


@pytest.mark.parametrize("pairs", [0, -1, True, 1.5, "some"])
def test_another_value_of_pairs_is_refused(pairs: object) -> None:
    with pytest.raises(ValueError, match="'none', 'own', 'all' or a number of negatives from 1"):
        chosen([0, 1], pairs)


def met(index: PairIndex) -> tuple[list[int], list[int]]:
    """How many valid negatives each text has, and how many other texts each prompt meets."""
    others = index.valid & ~index.is_own
    prompts = Counter(index.prompt_row[others].tolist())
    return others.sum(dim=1).tolist(), [prompts[row] for row in range(len(others))]


@pytest.mark.parametrize(("negatives", "most"), [(1, 1), (2, 2), (4, 4), (9, 5)])
def test_where_texts_vary_every_prompt_meets_as_many_texts_as_every_text_meets_prompts(
    negatives: int, most: int
) -> None:
    for step in range(10):
        index = chosen([5, 2, 8, 1, 30, 4], negatives, step=step, varies="text")
        assert met(index) == ([most] * 6, [most] * 6)
        assert index.prompt_row[:, 0].tolist() == list(range(6))
        assert index.is_own.tolist() == [[True] + [False] * most] * 6
        assert all(len(set(row)) == 1 + most for row in index.prompt_row.tolist())


def test_where_prompts_vary_some_prompts_meet_no_text() -> None:
    # Why the ring is needed: drawn for each text by itself, a prompt may be left out.
    assert any(0 in met(chosen(list(range(6)), 1, step=step))[1] for step in range(10))


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.lists(st.booleans(), min_size=9, max_size=9),
    st.integers(1, 9),
    st.integers(0, 30),
)
def test_the_ring_avoids_copies_and_padding_as_long_as_it_can(
    samples: list[int], drawn: list[bool], negatives: int, step: int
) -> None:
    valid = drawn[: len(samples)]
    index = chosen(samples, negatives, valid, step=step, varies="text")
    columns = min(negatives, len(samples) - 1)
    assert index.prompt_row.shape == (len(samples), 1 + columns)
    assert all(len(set(row)) == 1 + columns for row in index.prompt_row.tolist())
    assert index.prompt_row[:, 0].tolist() == list(range(len(samples)))
    texts, prompts = met(index)
    real = [sample for sample, is_real in zip(samples, valid, strict=True) if is_real]
    copies = max(Counter(real).values(), default=0)
    # Distances from c to V - c never end at a copy.
    for row, is_real in enumerate(valid):
        if is_real and negatives <= len(real) - 2 * copies + 1:
            assert texts[row] == prompts[row] == columns
        if not is_real:
            assert texts[row] == prompts[row] == 0


def test_the_ring_is_a_function_of_seed_step_and_samples() -> None:
    def negatives(samples: list[int], seed: int = 0, step: int = 0) -> dict[int, list[int]]:
        table = chosen(samples, 2, seed=seed, step=step, varies="text").prompt_row.tolist()
        return {samples[row[0]]: [samples[k] for k in row[1:]] for row in table}

    first = negatives([5, 2, 8, 1, 30])
    torch.manual_seed(9)  # global random state plays no part
    assert negatives([1, 30, 5, 8, 2]) == first
    assert any(negatives([5, 2, 8, 1, 30], step=step) != first for step in range(1, 5))
    assert any(negatives([5, 2, 8, 1, 30], seed=seed) != first for seed in range(1, 5))
    counts = Counter(negatives([0, 1, 2, 3], step=step)[0][0] for step in range(300))
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 60


def test_what_varies_makes_no_difference_where_there_is_nothing_to_choose() -> None:
    for pairs in ("own", "all"):
        first, second = (chosen([4, 4, 5], pairs, varies=varies) for varies in ("prompt", "text"))  # type: ignore[arg-type]
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
