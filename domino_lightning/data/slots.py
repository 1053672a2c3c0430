"""The slots of global batches: which sample has which, which rank has which, how many rows that makes a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from domino_lightning.errors import UserError
from domino_lightning.utils.seeding import derived_seed


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
    load = [0] * min(slots, len(rows))  # a slot for every sample, and the others stay empty
    slot_of = [0] * (max(owners, default=-1) + 1)
    # The samples with most rows first, ties in seeded order; each goes where there are fewest rows so far.
    for sample in sorted(rows, key=lambda each: (-rows[each], derived_seed("slot", seed, each))):
        slot = min(range(len(load)), key=load.__getitem__)
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
