"""pass@k as a torchmetrics metric, with a bootstrap interval over groups of related problems."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from domino_lightning.errors import UserError

_OWN_GROUP = -1
_CHUNK = 1 << 22  # group draws held at once: 32 MiB of indices


def estimate(total: int, correct: int, k: int) -> float:
    """Unbiased pass@k of one problem, `1 - C(total - correct, k) / C(total, k)`, as a stable product.

    This is the probability that k of the `total` samples, drawn without replacement, hold a correct one
    (Chen et al. 2021, arXiv 2107.03374).

    Raises:
        UserError: fewer samples than k.
    """
    if k > total:
        raise UserError(f"pass@{k} of a problem with {total} samples: draw at least {k}, or lower k.")
    missed = 1.0
    for i in range(k):
        missed *= (total - correct - i) / (total - i)
        if missed <= 0.0:  # fewer wrong samples than k; the next factor would be negative
            return 1.0
    return 1.0 - missed


def group_id(name: str) -> int:
    """The same 63-bit number for a group's name in every process (`hash` of a string is not)."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class PassAtK(Metric):
    """Mean over problems of the unbiased pass@k, with a percentile interval from a cluster bootstrap.

    Rows made from the same function are correlated, so the bootstrap draws whole groups, not problems: with n
    groups, n are drawn with replacement and their problems pooled, `resamples` times. The result depends on
    neither the order of the problems nor the number of ranks.

    Two things the interval does not know. With one group there is nothing to resample, and both ends are NaN
    rather than a certainty nobody has. Where every group scores the same (all 0, say) it has no width, and
    with fewer than about ten groups it is too narrow.

    Args:
        k: every k to report.
        confidence: coverage that the interval aims at.
        resamples: bootstrap draws.
        seed: of the bootstrap; the caller's random state is neither read nor changed.

    Raises:
        UserError: a k or resamples below 1, a repeated k, or a confidence outside (0, 1).
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: list[Tensor]
    total: list[Tensor]
    group: list[Tensor]

    def __init__(
        self,
        k: Sequence[int] = (1,),
        confidence: float = 0.95,
        resamples: int = 10_000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not k or min(k) < 1 or len(set(k)) != len(k):
            raise UserError(f"k={list(k)}: give one or more different whole numbers from 1.")
        if not 0 < confidence < 1:
            raise UserError(f"confidence={confidence}: give a number between 0 and 1, such as 0.95.")
        if resamples < 1:
            raise UserError(f"resamples={resamples}: give at least 1.")
        self.k = tuple(k)
        self.confidence = confidence
        self.resamples = resamples
        self.seed = seed
        for name in ("correct", "total", "group"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget all problems."""
        super().reset()
        # Never an empty list: from a rank without problems torchmetrics would gather it as float32.
        for name in ("correct", "total", "group"):
            getattr(self, name).append(torch.zeros(0, dtype=torch.int64, device=self.device))

    def update(
        self, correct: Sequence[int], total: Sequence[int], groups: Sequence[str] | None = None
    ) -> None:
        """Add problems: how many samples of each were correct, out of how many, and each one's group.

        Args:
            correct: c of each problem.
            total: n of each problem.
            groups: name of each problem's group; without it every problem is a group of its own.

        Raises:
            ValueError: lengths that differ, or a c outside 0..n.
            UserError: a problem with fewer samples than the largest k.
        """
        if len(correct) != len(total) or (groups is not None and len(groups) != len(total)):
            sizes = [len(column) for column in (correct, total, groups) if column is not None]
            raise ValueError(f"correct, total and groups need one entry per problem each, not {sizes}")
        largest = max(self.k)
        for c, n in zip(correct, total, strict=True):
            if not 0 <= c <= n:
                raise ValueError(f"{c} correct samples out of {n}")
            if n < largest:
                raise UserError(
                    f"pass@{largest} of a problem with {n} samples: draw at least {largest}, or lower k."
                )
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
        columns = (self.group, self.total, self.correct)
        rows = torch.stack([dim_zero_cat(column).cpu() for column in columns], dim=1)
        if len(rows) == 0:
            raise ValueError("pass@k of no problems: update() was never given one")
        ordered: list[list[int]] = sorted(rows.tolist())
        per_k = [[estimate(n, c, k) for _, n, c in ordered] for k in self.k]
        scores = torch.tensor(per_k, dtype=torch.float64)
        sums, sizes = _per_group(scores, [group for group, _, _ in ordered])
        low, high = self._interval(sums, sizes)
        result: dict[str, Tensor] = {}
        for i, k in enumerate(self.k):
            for suffix, value in {"": scores[i].mean(), "_low": low[i], "_high": high[i]}.items():
                result[f"pass@{k}{suffix}"] = value.to(self.device, torch.float32)
        counts = {"problems": len(ordered), "groups": len(sizes), "samples": sum(n for _, n, _ in ordered)}
        return result | {name: torch.tensor(count, device=self.device) for name, count in counts.items()}

    def _interval(self, sums: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends for every k, from the scores (K, G) and numbers (G,) of problems of the groups."""
        if len(sizes) < 2:
            return torch.full((len(sums),), torch.nan), torch.full((len(sums),), torch.nan)
        generator = torch.Generator().manual_seed(self.seed)
        means = []
        at_once = max(1, _CHUNK // len(sizes))
        for start in range(0, self.resamples, at_once):
            count = min(at_once, self.resamples - start)
            drawn = torch.randint(len(sizes), (count, len(sizes)), generator=generator)
            problems = sizes[drawn].sum(1)
            means.append(torch.stack([row[drawn].sum(1) / problems for row in sums]))
        tail = (1 - self.confidence) / 2
        levels = torch.tensor([tail, 1 - tail], dtype=torch.float64)
        ends = torch.quantile(torch.cat(means, dim=1), levels, dim=1)
        return ends[0], ends[1]


def _per_group(scores: Tensor, groups: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Sum of scores (K, G) and number of problems (G,) of every group; `groups` is sorted."""
    index: list[int] = []
    for i, group in enumerate(groups):
        same = i > 0 and group != _OWN_GROUP and group == groups[i - 1]
        index.append(index[-1] + (not same) if index else 0)
    columns = torch.tensor(index)
    sums = torch.zeros(len(scores), index[-1] + 1, dtype=scores.dtype).index_add_(1, columns, scores)
    return sums, torch.bincount(columns).to(scores.dtype)
