"""pass@k as a torchmetrics metric, with an interval over groups of related problems."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, rank_zero_warn

from domino_lightning.errors import UserError
from domino_lightning.evaluation.intervals import CONFIDENCE
from domino_lightning.evaluation.statistics import score_problems

_OWN_GROUP = -1


def group_id(name: str) -> int:
    """The same 63-bit number for a group's name in every process (`hash` of a string is not)."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class PassAtK(Metric):
    """Mean over problems of the unbiased pass@k, with an interval over groups of problems.

    Rows made from the same function are correlated, so the variance is that between groups, not between problems
    (see `statistics.cluster_mean`). The result depends on neither the order of the problems nor the number of
    ranks. One group says nothing of others, and both ends are NaN rather than a certainty nobody has.

    Args:
        k: every k to report; None for all from 1 to the smallest number of samples of a problem. One above
            that number is left out, with a warning: pass@k of fewer than k samples is no estimate.
        confidence: coverage that the interval aims at.

    Raises:
        UserError: a k below 1, a repeated k, or a confidence outside (0, 1).
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: list[Tensor]
    total: list[Tensor]
    group: list[Tensor]

    def __init__(
        self,
        k: Sequence[int] | None = (1,),
        confidence: float = CONFIDENCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if k is not None and (not k or min(k) < 1 or len(set(k)) != len(k)):
            raise UserError(f"k={list(k)}: give one or more different whole numbers from 1.")
        if not 0 < confidence < 1:
            raise UserError(f"confidence={confidence}: give a number between 0 and 1, such as 0.95.")
        self.k = None if k is None else tuple(k)
        self.confidence = confidence
        for name in ("correct", "total", "group"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all problems."""
        super().reset()
        # Never an empty list: from a rank without problems torchmetrics would gather it as float32.
        for name in ("correct", "total", "group"):
            getattr(self, name).append(torch.zeros(0, dtype=torch.int64, device=self.device))

    def update(self, correct: Sequence[int], total: Sequence[int], groups: Sequence[str] | None = None) -> None:
        """Add problems: how many samples of each were correct, out of how many, and each one's group.

        Args:
            correct: c of each problem.
            total: n of each problem.
            groups: name of each problem's group; without it every problem is a group of its own.

        Raises:
            ValueError: lengths that differ, a c outside 0..n, or a problem without samples.
        """
        if len(correct) != len(total) or (groups is not None and len(groups) != len(total)):
            sizes = [len(column) for column in (correct, total, groups) if column is not None]
            raise ValueError(f"correct, total and groups need one entry per problem each, not {sizes}")
        for c, n in zip(correct, total, strict=True):
            if not 0 <= c <= n or n == 0:
                raise ValueError(f"{c} correct samples out of {n}")
        ids = [_OWN_GROUP] * len(total) if groups is None else [group_id(name) for name in groups]
        for state, values in ((self.correct, correct), (self.total, total), (self.group, ids)):
            numbers = [int(value) for value in values]
            state.append(torch.tensor(numbers, dtype=torch.int64, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Scalars: "pass@k", "pass@k_low", "pass@k_high" for every k, "problems", "groups", "samples".

        The former are float32, the three counts int64.

        Raises:
            ValueError: no problem was added.
        """
        group, total, correct = (dim_zero_cat(state).tolist() for state in (self.group, self.total, self.correct))
        if not total:
            raise ValueError("pass@k of no problems: update() was never given one")
        labels = [f"own {i}" if label == _OWN_GROUP else label for i, label in enumerate(group)]
        found = score_problems(correct, total, labels, self.k, self.confidence, rank_zero_warn)
        dtypes = {name: torch.float32 if "@" in name else torch.int64 for name in found}
        return {name: torch.tensor(value, dtype=dtypes[name], device=self.device) for name, value in found.items()}
