"""Training the sample tokens beside D: their own optimizer, and checkpoints that hold every rank's rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from domino_lightning.nn import SampleTokens, distributed

MOMENTS = ("exp_avg", "exp_avg_sq")


class SampleTable:
    """`torch.optim.SparseAdam` over the rows of this rank, outside Lightning's optimizers.

    Lightning would clip a norm that includes rows of one rank alone, which would desynchronise D, and would
    count a second optimizer's steps as steps of the run.

    Args:
        tokens: the rows of this rank.
        num_samples: N, over all ranks.
        learning_rate: at factor 1 of the schedule.
    """

    def __init__(self, tokens: SampleTokens, num_samples: int, learning_rate: float) -> None:
        self.tokens, self.num_samples, self.learning_rate = tokens, num_samples, learning_rate
        self.optimizer = torch.optim.SparseAdam([tokens.table.weight], learning_rate)

    def step(self, factor: float) -> None:
        """Update the rows that have a gradient, at `factor` times the learning rate."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def unscale(self, scale: float, shared: torch.optim.Optimizer) -> None:
        """Divide the rows' gradient by a gradient scaler's factor, and overflow together with D.

        Where a gradient of D or of any rank's rows is not finite, no rank steps its rows, and the gradient of D is
        made infinite, which makes the scaler of every rank skip D and lower its scale.

        Args:
            scale: the factor that gradients carry.
            shared: D's optimizer, whose gradients are scaled still.
        """
        weight = self.tokens.table.weight
        weight.grad = None if weight.grad is None else weight.grad.coalesce()
        rows = [] if weight.grad is None else [weight.grad.values()]
        all_ranks = [p.grad for group in shared.param_groups for p in group["params"] if p.grad is not None]
        finite = torch.stack([part.isfinite().all() for part in [*rows, *all_ranks]] or [torch.tensor(True)])
        finite = finite.all().to(weight.device, torch.int32)
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        if finite:
            for part in rows:
                part /= scale
            return
        self.optimizer.zero_grad()
        for part in all_ranks:
            part.fill_(torch.inf)

    def state(self) -> dict[str, Any]:
        """The whole table and its moments, in order of sample whatever rank they lie on, and the step count.

        They are put together on the first rank, in the machine's memory, from one rank after the other: no device
        holds more than its own rows and those of one other rank. On other ranks they are None.
        """
        weight, owned = self.tokens.table.weight, self._owned_by_rank()
        state = self.optimizer.state.get(weight, {})
        local = {"table": weight.detach()} | {name: state.get(name, torch.zeros_like(weight)) for name in MOMENTS}
        return {"step": int(state.get("step", 0))} | {name: self._whole(value, owned) for name, value in local.items()}

    def load(self, saved: dict[str, Any]) -> None:
        """Take this rank's rows out of what `state` gave on any number of ranks."""
        weight, owned = self.tokens.table.weight, self.tokens.owned
        rows = slice(0, len(owned))
        with torch.no_grad():
            weight[rows] = saved["table"][owned].to(weight.device)
        moments = {name: torch.zeros_like(weight) for name in MOMENTS}
        for name, value in moments.items():
            value[rows] = saved[name][owned].to(weight.device)
        self.optimizer.state[weight] = {"step": saved["step"], **moments}

    def _owned_by_rank(self) -> list[list[int]]:
        owned = [self.tokens.owned] * distributed.world_size()
        if len(owned) > 1:
            torch.distributed.all_gather_object(owned, self.tokens.owned)
        return owned

    def _whole(self, local: Tensor, owned: list[list[int]]) -> Tensor | None:
        mine = local[: len(self.tokens.owned)]
        if distributed.rank() > 0:
            if len(mine):
                torch.distributed.send(mine.contiguous(), 0)
            return None
        whole = torch.zeros(self.num_samples, local.shape[1], dtype=local.dtype)
        whole[owned[0]] = mine.cpu()
        for rank, samples in enumerate(owned[1:], start=1):
            if samples:
                rows = local.new_empty(len(samples), local.shape[1])
                torch.distributed.recv(rows, rank)
                whole[samples] = rows.cpu()
        return whole
