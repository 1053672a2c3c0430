"""From logits to tokens: temperature, nucleus, min-p, repetition penalty, and noise keyed by row and position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_lightning.generation.sampling import Sampling
from domino_lightning.utils.seeding import generator

NUCLEUS_GUESS = 1e-3  # tokens at least so likely as the likeliest, times this, are looked at first for the nucleus
SEGMENT = 256  # tokens summed together before the one that is drawn is looked for


def row_noise(rows: Sequence[int], length: int, seed: int) -> Tensor:
    """(B, T) uniforms in [0, 1); row k's depend on (seed, k) alone, whatever batch it is in."""
    return torch.stack([torch.rand(length, dtype=torch.float64, generator=generator("row", seed, row)) for row in rows])


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """(B, V) logits, lowered where `seen` (B, V): positive ones divided by the penalty, negative ones multiplied."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(logits: Tensor, uniforms: Tensor | None, sampling: Sampling) -> Tensor:
    """Tokens by inverse transform: the first whose cumulative probability passes the row's uniform.

    Args:
        logits: (B, V).
        uniforms: (B,) in [0, 1); None for greedy.
        sampling: temperature, top-p and min-p, applied in this order.

    Returns:
        (B,) token ids.
    """
    if uniforms is None or sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float()
    # Probabilities relative to the likeliest token: nothing that follows needs them normalized.
    weights = (logits - logits.amax(dim=-1, keepdim=True)).div_(sampling.temperature).exp_()
    if sampling.top_p < 1:
        weights = _nucleus(weights, sampling.top_p)
    if sampling.min_p > 0:
        weights = weights.masked_fill(weights < sampling.min_p, 0.0)
    return _inverse_transform(weights, uniforms)


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of likeliest tokens that holds `top_p` of the mass; the likeliest weighs 1."""
    total = weights.sum(dim=-1, keepdim=True, dtype=torch.float64)
    goal = top_p * total
    # All tokens below the second bound have less than 1 - top_p of the mass together. Few rows need it.
    for bound in (torch.full_like(goal, NUCLEUS_GUESS), (1 - top_p) * total / weights.shape[-1]):
        likely = weights >= bound
        if bool(((weights * likely).sum(dim=-1, keepdim=True, dtype=torch.float64) >= goal).all()):
            break
    counts = likely.sum(dim=-1)
    row, column = likely.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    packed = weights.new_zeros(len(weights), int(counts.max()))
    packed[row, place] = weights[row, column]
    top, order = packed.sort(dim=-1, descending=True, stable=True)
    before = top.cumsum(dim=-1, dtype=torch.float64) - top
    packed.scatter_(-1, order, top.masked_fill(before >= goal, 0.0))
    nucleus = torch.zeros_like(weights)
    nucleus[row, column] = packed[row, place]
    return nucleus


def _inverse_transform(weights: Tensor, uniforms: Tensor) -> Tensor:
    """(B,) indices drawn in proportion to (B, V) weights; one without weight is never drawn."""
    count, width = weights.shape
    if width % SEGMENT:
        weights = F.pad(weights, (0, -width % SEGMENT))
    segments = weights.view(count, -1, SEGMENT)
    sums = segments.sum(dim=-1, dtype=torch.float64)
    segment, rest = _first_above(sums, uniforms.to(weights.device) * sums.sum(dim=-1))
    inside = segments[torch.arange(count, device=weights.device), segment].double()
    return segment * SEGMENT + _first_above(inside, rest)[0]


def _first_above(parts: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) the first of (B, N) parts at which their running sum passes the goal, and what the goal is past it."""
    sums = parts.cumsum(dim=-1)
    goal = torch.minimum(goal, torch.nextafter(sums[:, -1], torch.zeros_like(goal)))  # rounding may not run past it
    index = torch.searchsorted(sums, goal[:, None], right=True)
    before = sums.gather(-1, index) - parts.gather(-1, index)
    return index.squeeze(1), (goal[:, None] - before).squeeze(1).clamp(min=0)
