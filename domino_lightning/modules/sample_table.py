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

    def state(self) -> dict[str, Any]:
        """The whole table and its moments, in order of sample whatever rank they lie on, and the step count."""
        weight = self.tokens.table.weight
        state = self.optimizer.state.get(weight, {})
        local = {"table": weight.detach()} | {name: state.get(name, torch.zeros_like(weight)) for name in MOMENTS}
        return {"step": int(state.get("step", 0))} | {name: self._whole(value) for name, value in local.items()}

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

    def _whole(self, local: Tensor) -> Tensor:
        whole = local.new_zeros(self.num_samples, local.shape[1])
        whole[self.tokens.owned] = local[: len(self.tokens.owned)]
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(whole)
        return whole
