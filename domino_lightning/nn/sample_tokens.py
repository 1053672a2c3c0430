"""S_i, the soft tokens private to each sample: one row of a table that only the current batch touches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domino_lightning.nn.initialisation import Init, draw_tokens


class SampleTokens(nn.Module):
    """A table of N samples × S vectors with sparse gradients.

    Gradients and updates (`torch.optim.SparseAdam`) reach only the rows of the batch. Under DDP every rank
    holds the table but updates only the samples it owns; the table is neither broadcast nor reduced.

    Args:
        num_samples: N.
        num_tokens: S.
    """

    def __init__(self, num_samples: int, num_tokens: int, hidden_size: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.hidden_size = hidden_size
        self.table = nn.Embedding(num_samples, num_tokens * hidden_size, sparse=True)

    @torch.no_grad()
    def initialise(self, vocabulary: Tensor, generator: torch.Generator, init: Init = "vocabulary") -> None:
        """Fill every row from the (V, H) embedding matrix; rows may repeat between samples."""
        for row in self.table.weight:
            row.copy_(draw_tokens(vocabulary, self.num_tokens, init, generator).flatten())

    def forward(self, samples: Tensor) -> Tensor:
        """(B,) sample indices → (B, S, H) vectors."""
        rows: Tensor = self.table(samples)
        return rows.unflatten(1, (self.num_tokens, self.hidden_size))
