"""The objective that the paper's equations state: negatives are other texts under the anchor's own sample tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from domino_lightning.losses.base import ContrastiveLoss, Pairs, PromptNLL, by_prompt, masked_mean, negatives, own_nll
from domino_lightning.losses.schedules import Schedule

if TYPE_CHECKING:
    from torch import Tensor

Likelihood = Literal["sequence", "token"]


class PaperObjective(ContrastiveLoss):
    """L1 + λ·L2 as the first README of the released DOMINO code states it, which that code does not compute.

    L1 = −1/n Σ_i log p(x_i|D),  L2 = −1/n Σ_i log( p(x_i|D,S_i) / Σ_{j≠i} p(x_j|D,S_i) )

    Which of the texts is this prompt's own? `InfoNCE` varies the prompt of one text; here the text varies under one
    prompt. The positive is missing from the denominator, so L2 is in (−∞, ∞) and falls for ever as other texts
    become unlikely. `bounded` puts it there: L2 is then in [0, ∞), and log(1 + negatives) where all texts are
    equally likely. p(x) is that of the whole text, so a short text is a likelier negative than a long one; under
    `token` it is the geometric mean over the text's scored tokens. Without a valid negative an anchor's part is 0.

    Terms are in nats per text under `sequence`, where a term `tokens` gives the mean length, and else per token.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        likelihood: `sequence`, p of the whole text with its EOS, as in the paper; or `token`.
        bounded: whether the sum in the denominator includes the anchor's own text.
        pairs: "all", or the number of other texts that a prompt meets.

    Raises:
        ValueError: another `likelihood`.
    """

    varies = "text"

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        likelihood: Likelihood = "sequence",
        bounded: bool = False,
        pairs: Pairs = "all",
    ) -> None:
        super().__init__(weight, pairs=pairs)
        if likelihood not in ("sequence", "token"):
            raise ValueError(f"likelihood must be 'sequence' or 'token', not {likelihood!r}")
        self.likelihood, self.bounded = likelihood, bounded

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """The terms of `ContrastiveLoss`, and `tokens` under `sequence`."""
        if self.likelihood == "token":
            return super().forward(nll, progress)
        lengths = nll.num_tokens.to(nll.domain.dtype)
        paired = None if nll.paired is None else nll.paired * lengths[:, None]
        terms = super().forward(nll._replace(domain=nll.domain * lengths, paired=paired), progress)
        return {**terms, "tokens": masked_mean(lengths, nll.valid)}

    def contrast(self, nll: PromptNLL) -> Tensor:
        """L2, from NLLs of whole texts or of tokens."""
        import torch

        own, mask = own_nll(nll), negatives(nll)
        others = by_prompt(nll, nll.paired, mask)  # (B prompts, B texts), inf where they do not meet
        met = by_prompt(nll, torch.zeros_like(mask, dtype=own.dtype), mask).isfinite().any(dim=1)
        scores = torch.cat([-others, -own[:, None]], dim=1) if self.bounded else -others
        # The logarithm of an empty sum has no gradient: such rows are replaced, then masked out.
        summed = torch.logsumexp(scores.masked_fill(~met[:, None], 0.0), dim=1)
        return masked_mean((own + summed).masked_fill(~met, 0.0), nll.valid)
