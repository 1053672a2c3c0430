"""S_i, the soft tokens private to each sample: one row of a table that only the current batch touches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from domino_lightning.nn.initialization import Moments, draw_tokens
from domino_lightning.nn.starts import Init, SampleInit
from domino_lightning.utils.seeding import generator


class SampleTokens(nn.Module):
    """The S vectors of every sample that this rank owns, with sparse gradients.

    Gradients and updates (`torch.optim.SparseAdam`) reach only the rows of the batch. Under DDP a rank holds the
    rows of its own samples and no others; the table is neither broadcast nor reduced.

    Args:
        owned: the samples whose rows lie here, N_r of them.
        num_tokens: S.
        hidden_size: H.
        low_rank: R; S_i is then an (S, R) row of the table times an (R, H) basis that all samples share and
            that is trained like D. None keeps (S, H) numbers a sample.
        gradient_scale: factor of the table's gradient; 1 / W where it comes back from `gather_rows`.
    """

    def __init__(
        self,
        owned: Sequence[int],
        num_tokens: int,
        hidden_size: int,
        low_rank: int | None = None,
        gradient_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if low_rank is not None and low_rank < 1:
            raise ValueError(f"low_rank must be 1 or more, not {low_rank}")
        self.owned = list(owned)
        self.num_tokens, self.width = num_tokens, low_rank or hidden_size
        self.gradient_scale = gradient_scale
        self.table = nn.Embedding(max(1, len(self.owned)), num_tokens * self.width, sparse=True)
        self.basis = nn.Parameter(torch.empty(low_rank, hidden_size)) if low_rank is not None else None
        # -1, which no table has, for the samples of other ranks.
        row_of = torch.full((max(self.owned, default=-1) + 1,), -1)
        row_of[self.owned] = torch.arange(len(self.owned))
        self.row_of: Tensor
        self.register_buffer("row_of", row_of, persistent=False)

    @torch.no_grad()
    def initialize(
        self,
        vocabulary: Tensor,
        seed: int,
        init: SampleInit = "vocabulary",
        keywords: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Fill each sample's vectors as a function of (seed, sample), whatever rank it lies on.

        Without a basis they are rows of, or like, the (V, H) embedding matrix. With one, the basis is, and a vector
        starts as one of its rows, or under `keywords` as what comes nearest to the keyword's embedding.

        Args:
            vocabulary: (V, H).
            seed: of what is drawn.
            init: `vocabulary` and `normal` as for domain tokens; `keywords` takes each sample's own.
            keywords: S token ids for every sample, for `init: keywords`.

        Raises:
            ValueError: `keywords` without any.
        """
        if init == "keywords" and keywords is None:
            raise ValueError("init 'keywords' needs the keywords of every sample")
        # Once for all samples: of a large backbone the vocabulary is half a billion numbers.
        vocabulary = vocabulary.detach().float().cpu()
        moments = Moments.of(vocabulary) if init == "normal" else None
        drawn: Init = "normal" if init == "normal" else "vocabulary"
        if self.basis is not None:
            self.basis.copy_(draw_tokens(vocabulary, len(self.basis), drawn, generator("basis", seed)))
        for row, sample in enumerate(self.owned):
            own = generator("samples", seed, sample)
            if init == "keywords" and keywords is not None:
                start = vocabulary[torch.tensor(keywords[sample])]
                if self.basis is not None:
                    start = torch.linalg.lstsq(self.basis.T, start.T).solution.T
            elif self.basis is None:
                few = self.num_tokens
                start = moments.draw(few, own) if moments else draw_tokens(vocabulary, few, drawn, own)
            else:
                chosen = torch.randint(self.width, (self.num_tokens,), generator=own)
                start = torch.nn.functional.one_hot(chosen, self.width).float()
            self.table.weight[row] = start.flatten()

    def forward(self, samples: Tensor) -> Tensor:
        """(b,) sample indices → (b, S, H) vectors.

        Raises:
            IndexError: a sample that lies on another rank.
        """
        rows: Tensor = self.table(self.row_of[samples])
        if self.gradient_scale != 1.0 and rows.requires_grad:
            scale = self.gradient_scale
            rows.register_hook(lambda gradient: gradient * scale)
        return self.vectors(rows)

    def vectors(self, rows: Tensor) -> Tensor:
        """(b, S · R) rows of a table like this one's → (b, S, H) vectors."""
        rows = rows.unflatten(1, (self.num_tokens, self.width))
        return rows if self.basis is None else rows @ self.basis
