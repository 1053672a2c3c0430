"""Rows of all ranks in one tensor, with gradient: what makes negatives global."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """W, the number of ranks; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This rank's number, 0 … W − 1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(rows: Tensor) -> Tensor:
    """(b, …) rows of this rank → (W·b, …) rows of all ranks, in order of rank; all must hold as many.

    The gradient that comes back to a row is the *sum* over ranks of what each of them computed for it. Where all
    ranks compute the same loss from gathered rows, that is W times its gradient: DDP, which averages, makes it
    exact for parameters that it reduces; parameters of a rank's own must be divided by W.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows) if rows.requires_grad else _GatherRows.gathered(rows)
    return gathered


class _GatherRows(torch.autograd.Function):
    """torch.distributed.nn.functional.all_gather is deprecated, and its successor is private."""

    @staticmethod
    def gathered(rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return _GatherRows.gathered(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)  # gloo has no reduce-scatter on every torch of the range
        return total.chunk(world_size())[rank()]
