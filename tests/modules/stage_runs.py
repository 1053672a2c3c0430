"""Training stages run whole in this process, and all that they leave, for the tests of what interrupts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from domino_lightning.nn import DomainPrompt, DomainTokens

# Seven references in batches of two: an epoch has four batches, the last with one text.
SCHEDULES: dict[str, dict[str, Any]] = {
    "steps": {"max_steps": 12, "val_check_interval": 3, "check_val_every_n_epoch": None},
    "epochs": {"max_epochs": 3, "val_check_interval": 3, "check_val_every_n_epoch": None},
    "epoch ends": {"max_epochs": 3},
    "accumulated": {
        "max_steps": 6, "accumulate_grad_batches": 2, "val_check_interval": 3, "check_val_every_n_epoch": None,
    },
}  # fmt: skip


class NoisyTokens(DomainTokens):
    """Draws from global random state in every step."""

    def forward(self) -> Tensor:
        return self.weight + 0.01 * torch.randn_like(self.weight)


class Noisy(DomainPrompt):
    """With such tokens."""

    def tokens(self, *given: Any) -> DomainTokens:
        return NoisyTokens(self.start(*given))


@dataclass
class Result:
    """All that a training run leaves."""

    tensors: dict[str, Tensor]
    metrics: str
    checkpoint: dict[str, Any]

    def assert_same(self, other: Result) -> None:
        assert self.metrics == other.metrics
        assert self.tensors.keys() == other.tensors.keys()
        assert [name for name in self.tensors if not torch.equal(self.tensors[name], other.tensors[name])] == []
        for name in ("state_dict", "optimizer_states", "lr_schedulers", "sample_table", "callbacks"):
            assert flat(self.checkpoint.get(name)) == flat(other.checkpoint.get(name)), name
        assert self.checkpoint["global_step"] == other.checkpoint["global_step"]


def flat(node: Any) -> Any:
    """Tensors as lists, so that trees can be compared."""
    if isinstance(node, Tensor):
        return node.tolist()
    if isinstance(node, dict):
        return {str(key): flat(value) for key, value in node.items()}
    return [flat(value) for value in node] if isinstance(node, list | tuple) else node


Run = Callable[..., Result]
HEALTH = ("metrics.csv", "pair_matrix.jsonl", "nearest_tokens.jsonl", "samples.jsonl")
