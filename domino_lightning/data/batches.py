"""Batches that are a function of (seed, batch number), so that a resumed run sees what the interrupted one would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, Sampler

from domino_lightning.errors import UserError
from domino_lightning.utils.seeding import derived_seed

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

PADDING = -1  # index of a row that stands for none: its slot has run out of rows


class Rows(Dataset[Any]):
    """A list as a dataset; the index `PADDING` gives None."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return None if index == PADDING else self.items[index]


def assign_slots(owners: Sequence[int], slots: int, seed: int) -> list[int]:
    """(N,) slot of each sample 0 … N − 1: fixed for the whole run, and balanced by rows.

    A global batch takes one row from every slot, and a rank holds consecutive slots. So global batches are the
    same on any number of ranks that divides their size, no sample ever moves to another rank, and copies of a
    sample never meet in a batch. The price: samples of one slot never meet in a batch either.

    Args:
        owners: the sample index of each row.
        slots: rows of a global batch.
        seed: of the assignment.
    """
    rows = Counter(owners)
    load = [0] * slots
    slot_of = [0] * (max(owners, default=-1) + 1)
    # The samples with most rows first, ties in seeded order; each goes where there are fewest rows so far.
    for sample in sorted(rows, key=lambda each: (-rows[each], derived_seed("slot", seed, each))):
        slot = min(range(slots), key=load.__getitem__)
        slot_of[sample] = slot
        load[slot] += rows[sample]
    return slot_of


def rank_slots(batch_size: int, rank: int, world_size: int) -> range:
    """The slots of a rank.

    Raises:
        UserError: the batch cannot be shared out evenly.
    """
    if batch_size % world_size:
        raise UserError(
            f"data.batch_size {batch_size} counts the rows of all ranks and cannot be shared by {world_size} "
            f"of them. Make it a multiple of {world_size}, or change trainer.devices or trainer.num_nodes."
        )
    share = batch_size // world_size
    return range(rank * share, (rank + 1) * share)


def batch_sizes(owners: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """Rows of each global batch of a training epoch; batch t takes the t-th row of every slot that has one."""
    slot_of = assign_slots(owners, batch_size, seed)
    load = Counter(slot_of[owner] for owner in owners)
    return [sum(count > batch for count in load.values()) for batch in range(max(load.values(), default=0))]


class SeededBatches(Sampler[list[int]]):
    """One rank's share of global batches; global batch t depends on (seed, t), never on the number of ranks.

    Training batches take the t-th row of every slot (see `assign_slots`) in an order drawn anew each epoch;
    without shuffling, batch t is the t-th run of `batch_size` rows. Rank r of W yields the rows of its
    batch_size / W consecutive slots. With W > 1 a slot that has run out yields `PADDING`, so that all ranks have
    batches of one size, and the same number of them; alone, a rank's last batch of an epoch may be smaller.

    Args:
        owners: (N,) the sample index of each row.
        batch_size: rows of a global batch; a multiple of `world_size`.
        seed: of slots and order.
        position: number of batches done so far, over all epochs.
        rank: of this process.
        world_size: ranks that share every batch.
        shuffle: draw a new order every epoch; otherwise the rows' own order.

    Raises:
        UserError: the batch cannot be shared out evenly.
    """

    def __init__(
        self,
        owners: Sequence[int],
        batch_size: int,
        seed: int,
        position: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> None:
        self.slots: list[list[int]] = [[] for _ in range(batch_size)]
        slot_of = assign_slots(owners, batch_size, seed) if shuffle else None
        for row, owner in enumerate(owners):
            self.slots[row % batch_size if slot_of is None else slot_of[owner]].append(row)
        self.num_batches = max(map(len, self.slots))
        self.own, self.pad = rank_slots(batch_size, rank, world_size), world_size > 1
        self.seed, self.shuffle, self.position = seed, shuffle, position

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        if not self.num_batches:
            return
        epoch, first = divmod(self.position(), self.num_batches)
        orders = [self._order(self.slots[slot], epoch) for slot in self.own]
        for batch in range(first, self.num_batches):
            yield [rows[batch] if batch < len(rows) else PADDING for rows in orders if self.pad or batch < len(rows)]

    def _order(self, rows: list[int], epoch: int) -> list[int]:
        if not self.shuffle:
            return rows
        return sorted(rows, key=lambda row: derived_seed("order", self.seed, epoch, row))


def make_loader(
    items: Sequence[Any],
    owners: Sequence[int],
    collate: Callable[[list[Any]], Any],
    batch_size: int,
    seed: int,
    trainer: Trainer | None,
    num_workers: int,
    train: bool,
) -> DataLoader[Any]:
    """A loader of one rank's batches, which starts where the trainer stands in training."""

    def position() -> int:
        return trainer.fit_loop.epoch_loop.batch_progress.total.ready if trainer is not None and train else 0

    batches = SeededBatches(
        owners,
        batch_size,
        seed,
        position,
        rank=trainer.global_rank if trainer else 0,
        world_size=trainer.world_size if trainer else 1,
        shuffle=train,
    )
    return DataLoader(Rows(items), batch_sampler=batches, collate_fn=collate, num_workers=num_workers)
