"""Batches that are a function of (seed, batch number), so that a resumed run sees what the interrupted one would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, Sampler

from domino_lightning.seeding import derived_seed

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

PADDING = -1  # index of a row that stands for none: a rank that has run out of samples


class Rows(Dataset[Any]):
    """A list as a dataset; the index `PADDING` gives None."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return None if index == PADDING else self.items[index]


class SeededBatches(Sampler[list[int]]):
    """Batches of row indices; batch t of a rank depends on (seed, t) alone.

    Rows stay with the rank that owns their sample (`owner % world_size`), so that sample tokens are never
    trained on two ranks. All ranks have the same number of batches; one that runs out yields `[PADDING]`.

    Args:
        owners: (N,) the sample index of each row.
        batch_size: rows of a rank's batch; the last of an epoch may be smaller.
        seed: of the order.
        position: number of batches done so far, over all epochs.
        shuffle: draw a new order every epoch; otherwise the rows' own order.
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
        per_rank = [sum(owner % world_size == other for owner in owners) for other in range(world_size)]
        self.rows = [row for row, owner in enumerate(owners) if owner % world_size == rank]
        self.num_batches = max(-(-count // batch_size) for count in per_rank)
        self.batch_size, self.seed, self.rank, self.shuffle = batch_size, seed, rank, shuffle
        self.position = position

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        if not self.num_batches:
            return
        epoch, first = divmod(self.position(), self.num_batches)
        order = sorted(self.rows, key=lambda row: derived_seed("order", self.seed, epoch, row))
        rows = order if self.shuffle else self.rows
        for batch in range(first, self.num_batches):
            yield rows[batch * self.batch_size : (batch + 1) * self.batch_size] or [PADDING]


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
