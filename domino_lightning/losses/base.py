"""The contract between the prompt-tuning module, which runs the model, and a loss, which does the arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from torch import Tensor, nn

Pairs = Literal["none", "own", "all"] | int


class PromptNLL(NamedTuple):
    """Negative log-likelihoods of a batch of texts under its prompts, float32, in nats per scored token.

    A scored token is a text token or the EOS after it; pads are never scored. B is the global batch under
    `negatives: global`, so a loss knows nothing of ranks.

    Attributes:
        domain: (B,) NLL(x_i | D).
        num_tokens: (B,) scored tokens of text i.
        valid: (B,) bool; False on rows that only pad a ragged rank.
        paired: (B, K) NLL(x_i | D, S of the k-th prompt of row i); with pairs "all" prompt k is row k's.
        is_own: (B, K) bool; one True per valid row, at the row's own S_i.
        pair_valid: (B, K) bool; False on padding and on another copy of the same sample.
    """

    domain: Tensor
    num_tokens: Tensor
    valid: Tensor
    paired: Tensor | None = None
    is_own: Tensor | None = None
    pair_valid: Tensor | None = None


class DisentanglementLoss(nn.Module, ABC):
    """A training objective over `PromptNLL`. Subclass it in a fork and name it by `class_path`.

    Attributes:
        pairs: which (text, sample prompt) pairs the loss needs: "none", "own" (K = 1), "all" (K = B), or
            a number of negatives n (K = 1 + min(n, B − 1), the own prompt first).
    """

    pairs: Pairs = "none"

    @abstractmethod
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Named scalar terms; `loss` is the one that is minimised, all are logged.

        Args:
            nll: likelihoods of the batch.
            progress: in [0, 1], how far training has come; drives schedules.
        """


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`; 0 (with zero gradient) where nothing is masked in.

    Excluded entries may hold anything, NaN and infinity included.
    """
    kept = values.masked_fill(~mask, 0.0)
    return kept.sum() / mask.sum().clamp(min=1)


def own_nll(nll: PromptNLL) -> Tensor:
    """(B,) NLL(x_i | D, S_i).

    Raises:
        ValueError: the loss was given no pairs; set `pairs` on the loss class.
    """
    paired, is_own, _ = require_pairs(nll)
    return paired.masked_fill(~is_own, 0.0).sum(dim=1)


def require_pairs(nll: PromptNLL) -> tuple[Tensor, Tensor, Tensor]:
    """The three pair tensors, each (B, K).

    Raises:
        ValueError: there are none; set `pairs` on the loss class.
    """
    if nll.paired is None or nll.is_own is None or nll.pair_valid is None:
        raise ValueError("this loss needs (text, sample prompt) pairs; set `pairs` to 'own', 'all' or a number")
    return nll.paired, nll.is_own, nll.pair_valid
