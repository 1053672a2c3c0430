"""Batches as a function of (seed, batch number), the same count on every rank, rows kept by their owner."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.data.batches import PADDING, Rows, SeededBatches, make_loader
from domino_lightning.data.slots import assign_slots, rank_slots
from domino_lightning.errors import UserError

Owners = st.lists(st.integers(0, 9), min_size=1, max_size=25)
Worlds = st.integers(1, 4)
Shares = st.integers(1, 3)


def batches(owners: list[int], size: int, position: int = 0, **kwargs: object) -> SeededBatches:
    return SeededBatches(owners, size, position=lambda: position, **{"seed": 5, **kwargs})  # type: ignore[arg-type]


def split(owners: list[int], size: int, world: int, **kwargs: object) -> list[list[list[int]]]:
    """The batches of every rank."""
    return [list(batches(owners, size, rank=rank, world_size=world, **kwargs)) for rank in range(world)]


@given(Owners, Worlds, Shares, st.booleans())
def test_every_row_is_seen_once_an_epoch(owners: list[int], world: int, share: int, shuffle: bool) -> None:
    seen = chain.from_iterable(chain.from_iterable(split(owners, world * share, world, shuffle=shuffle)))
    assert sorted(row for row in seen if row != PADDING) == list(range(len(owners)))


@given(Owners, Worlds, Shares, st.booleans())
def test_global_batches_are_the_same_on_any_number_of_ranks(
    owners: list[int], world: int, share: int, shuffle: bool
) -> None:
    (whole,) = split(owners, world * share, 1, shuffle=shuffle)
    ranks = split(owners, world * share, world, shuffle=shuffle)
    together = [list(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    assert [[row for row in batch if row != PADDING] for batch in together] == whole


@given(Owners, Worlds, Shares, st.integers(0, 3))
def test_a_sample_stays_on_its_rank_in_every_epoch_and_meets_no_copy_of_itself(
    owners: list[int], world: int, share: int, epoch: int
) -> None:
    slot_of = assign_slots(owners, world * share, 5)
    length = len(batches(owners, world * share))
    for rank, own in enumerate(split(owners, world * share, world, position=epoch * length)):
        for batch in own:
            assert 1 <= len(batch) <= share
            assert len(batch) == share or world == 1
            samples = [owners[row] for row in batch if row != PADDING]
            assert len(samples) == len(set(samples))
            assert {slot_of[sample] for sample in samples} <= set(rank_slots(world * share, rank, world))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 6))
def test_slots_are_as_even_as_whole_samples_allow(copies: list[int], slots: int) -> None:
    owners = [sample for sample, count in enumerate(copies) for _ in range(count)]
    slot_of = assign_slots(owners, slots, 0)
    load = [sum(slot_of[owner] == slot for owner in owners) for slot in range(slots)]
    assert max(load) - min(load) <= max(copies)


def test_a_batch_that_cannot_be_shared_evenly_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size 4 .* shared by 3 of them\. Make it a multiple of 3"):
        batches([0, 1, 2], 4, world_size=3)


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
