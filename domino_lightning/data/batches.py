"""Batches that are a function of (seed, batch number), so that a resumed run sees what the interrupted one would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, Sampler

from domino_lightning.data.slots import assign_slots, rank_slots
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
