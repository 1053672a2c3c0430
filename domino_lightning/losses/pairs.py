"""Which (text, sample prompt) pairs of a batch a loss is shown."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from domino_lightning.losses.base import Pairs, Varies, checked_pairs
from domino_lightning.utils.seeding import generator


class PairIndex(NamedTuple):
    """(B, K) tables: the row whose sample prompt is the k-th of text i, whether it is its own, whether it counts."""

    prompt_row: Tensor
    is_own: Tensor
    valid: Tensor


def choose_pairs(
    samples: Tensor, valid: Tensor, pairs: Pairs, seed: int, step: int, varies: Varies = "prompt"
) -> PairIndex | None:
    """Choose pairs as a function of (seed, step, samples), never of global random state.

    Args:
        samples: (B,) sample indices; another copy of a text's own sample is no negative of it.
        valid: (B,) bool.
        pairs: "none", "own", "all" or the number of negatives n; K = 1 + min(n, B − 1), the own prompt first.
        seed: the run's seed.
        step: the optimizer step.
        varies: with a number n. "prompt": n prompts are drawn for each text. "text": texts and prompts meet in a
            ring, so that each prompt also meets n other texts.

    Returns:
        None for "none".

    Raises:
        ValueError: `pairs` is none of these.
    """
    pairs = checked_pairs(pairs)
    size = len(samples)
    rows = torch.arange(size, device=samples.device)
    same = samples[:, None] == samples[None, :]
    if pairs == "none":
        return None
    if pairs == "own":
        table = rows[:, None]
    elif pairs == "all":
        table = rows.expand(size, size)
    else:
        negatives = min(int(pairs), size - 1)
        if varies == "text":
            table = _ring(samples, valid, negatives, seed, step)
        else:
            table = _own_then_negatives(samples, valid, same, negatives, seed, step)
    is_own = table == rows[:, None]
    counted = valid[:, None] & valid[table] & (is_own | ~same.gather(1, table))
    return PairIndex(table, is_own & valid[:, None], counted)


def _own_then_negatives(samples: Tensor, valid: Tensor, same: Tensor, negatives: int, seed: int, step: int) -> Tensor:
    """(B, 1 + negatives) rows: the own first, then others in an order keyed by (seed, step, sample)."""
    table = []
    # Numbers are dealt out in order of sample, so that it does not matter where in the batch a row stands.
    by_sample = torch.argsort(samples.masked_fill(~valid, torch.iinfo(samples.dtype).max).cpu(), stable=True)
    for row, sample in enumerate(samples.tolist()):
        keys = torch.empty(len(samples))
        keys[by_sample] = torch.rand(len(samples), generator=generator("pairs", seed, step, sample))
        # Rows that cannot be negatives come last, so they are taken only when nothing else is left.
        keys[(same[row] | ~valid).cpu()] += 1.0
        keys[row] = 3.0
        table.append([row, *torch.argsort(keys)[:negatives].tolist()])
    return torch.tensor(table, device=samples.device)


def _ring(samples: Tensor, valid: Tensor, negatives: int, seed: int, step: int) -> Tensor:
    """(B, 1 + negatives) rows: the own first, then those so many places ahead in a ring, at the same distances for all.

    So every row is met as often as it meets others. The samples stand in an order keyed by (seed, step), copies of
    one beside each other: no distance from c to V − c, with V valid rows and at most c copies of a sample, ends at a
    copy. The distances are drawn from these, and from the others when nothing else is left; padding comes last.
    """
    random = generator("pairs", seed, step)
    places, numbers, copies = samples[valid].unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(places), generator=random).to(samples.device)[numbers]
    rows = valid.nonzero().flatten()
    ring, padding = rows[torch.argsort(order, stable=True)].tolist(), (~valid).nonzero().flatten().tolist()
    size, most = len(ring), int(copies.max()) if len(copies) else 0
    keys = torch.rand(max(0, size - 1), generator=random)
    distances = 1 + torch.arange(len(keys))
    keys[(distances < most) | (distances > size - most)] += 1.0
    ahead = (1 + torch.argsort(keys)).tolist()
    table = {row: [ring[(place + far) % size] for far in ahead] + padding for place, row in enumerate(ring)}
    table |= {row: [*ring, *(other for other in padding if other != row)] for row in padding}
    return torch.tensor([[row, *table[row][:negatives]] for row in range(len(samples))], device=samples.device)
