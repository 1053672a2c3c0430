"""Batches as a function of (seed, batch number), the same count on every rank, rows kept by their owner."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.data.batches import PADDING, Rows, SeededBatches, make_loader

Owners = st.lists(st.integers(0, 9), min_size=1, max_size=25)


def batches(owners: list[int], size: int, position: int = 0, **kwargs: object) -> SeededBatches:
    return SeededBatches(owners, size, position=lambda: position, **{"seed": 5, **kwargs})  # type: ignore[arg-type]


@given(Owners, st.integers(1, 6), st.integers(1, 4))
def test_every_row_is_seen_once_an_epoch_by_the_rank_that_owns_its_sample(
    owners: list[int], size: int, world: int
) -> None:
    ranks = [batches(owners, size, rank=rank, world_size=world) for rank in range(world)]
    seen: list[int] = []
    for rank, sampler in enumerate(ranks):
        rows = [row for row in chain.from_iterable(sampler) if row != PADDING]
        assert all(owners[row] % world == rank for row in rows)
        seen += rows
    assert sorted(seen) == list(range(len(owners)))


@given(Owners, st.integers(1, 6), st.integers(1, 4))
def test_all_ranks_have_the_same_number_of_batches_none_empty(owners: list[int], size: int, world: int) -> None:
    ranks = [list(batches(owners, size, rank=rank, world_size=world)) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(batches(owners, size, world_size=world))}
    for batch in chain.from_iterable(ranks):
        assert 1 <= len(batch) <= size
        assert batch == [PADDING] or PADDING not in batch


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 40))
def test_resuming_at_a_batch_gives_what_the_uninterrupted_run_would_have_seen(
    rows: int, size: int, position: int
) -> None:
    per_epoch = len(batches(list(range(rows)), size))
    epoch, done = divmod(position, per_epoch)
    whole = list(batches(list(range(rows)), size, position=epoch * per_epoch))
    assert list(batches(list(range(rows)), size, position=position)) == whole[done:]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    owners = list(range(20))
    first = list(batches(owners, 4))
    assert first == list(batches(owners, 4))
    assert first != list(batches(owners, 4, seed=6))
    assert first != list(batches(owners, 4, position=len(first)))
    assert list(chain.from_iterable(first)) != owners


def test_rows_keep_their_order_without_shuffling_in_every_epoch() -> None:
    for position in (0, 3):
        assert list(batches(list(range(5)), 2, position, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_copies_of_a_sample_stay_on_one_rank() -> None:
    owners = [0, 1, 0, 2, 0]
    rows = [set(chain.from_iterable(batches(owners, 2, rank=rank, world_size=2))) for rank in (0, 1)]
    assert rows[0] - {PADDING} == {0, 2, 3, 4}
    assert rows[1] - {PADDING} == {1}


def test_a_rank_without_any_rows_pads_every_batch() -> None:
    assert list(batches([0, 2, 4], 2, rank=1, world_size=2)) == [[PADDING], [PADDING]]


def test_no_rows_at_all_are_no_batches() -> None:
    assert len(batches([], 2)) == 0
    assert list(batches([], 2)) == []


def test_the_padding_index_stands_for_no_row() -> None:
    rows = Rows(["a", "b"])
    assert len(rows) == 2
    assert [rows[1], rows[PADDING]] == ["b", None]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_without_a_trainer_yields_all_rows_collated(workers: int) -> None:
    loader = make_loader(["a", "b", "c"], [0, 1, 2], list, 2, 0, None, workers, train=False)
    assert list(loader) == [["a", "b"], ["c"]]
    assert len(loader) == 2
