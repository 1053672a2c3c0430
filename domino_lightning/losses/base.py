"""The contract between the prompt-tuning module, which runs the model, and a loss, which does the arithmetic."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from domino_lightning.losses.schedules import Schedule, non_negative
from domino_lightning.utils.contract import Contract

if TYPE_CHECKING:
    from torch import Tensor

Pairs = Literal["none", "own", "all"] | int
Varies = Literal["prompt", "text"]
PAIRLESS = "this loss needs (text, sample prompt) pairs; set `pairs` to 'own', 'all' or a number"


def checked_pairs(pairs: object) -> Pairs:
    """The pairs that a loss asks for.

    Raises:
        ValueError: they are none of those that there are.
    """
    if pairs in ("none", "own", "all") or (type(pairs) is int and pairs >= 1):
        return pairs
    raise ValueError(f"pairs must be 'none', 'own', 'all' or a number of negatives from 1, not {pairs!r}")


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
        prompt_row: (B, K) the row whose S the k-th prompt of row i is; no row of it names a prompt twice.
    """

    domain: Tensor
    num_tokens: Tensor
    valid: Tensor
    paired: Tensor | None = None
    is_own: Tensor | None = None
    pair_valid: Tensor | None = None
    prompt_row: Tensor | None = None


class DisentanglementLoss(Contract, ABC, more="domino_lightning.testing.check_loss(loss) says more."):
    """A training objective over `PromptNLL`. Subclass it in a fork and name it by `class_path`.

    It is arithmetic on the tensors that it is given and no `torch.nn.Module`, so that a check, which constructs it,
    imports no torch. One with parameters of its own is both: `class Learned(DisentanglementLoss, torch.nn.Module)`.

    Attributes:
        pairs: which (text, sample prompt) pairs the loss needs: "none", "own" (K = 1), "all" (K = B), or
            a number of negatives n (K = 1 + min(n, B − 1), the own prompt first).
        varies: what an anchor's negatives differ in. "prompt": n other prompts are drawn for each text. "text": n
            other texts for each prompt, which then are n other prompts for each text as well; see `by_prompt`.
    """

    pairs: Pairs = "none"
    varies: Varies = "prompt"

    def __call__(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """What `forward` gives; where the loss is a `torch.nn.Module` too, by way of its hooks."""
        inherited: Any = getattr(super(), "__call__", self.forward)  # noqa: B004 - of the next class, not of this one
        terms: dict[str, Tensor] = inherited(nll, progress)
        return terms

    @abstractmethod
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Named scalar terms; `loss` is the one that is minimized, all are logged.

        Args:
            nll: likelihoods of the batch.
            progress: in [0, 1], how far training has come; drives schedules.
        """


class ContrastiveLoss(DisentanglementLoss):
    """L = mean_i NLL(x_i|D) + λ · [ contrast + α · mean_i NLL(x_i|D,S_i) ]; a subclass says what `contrast` is.

    Args:
        weight: λ ≥ 0, or a `Schedule` of it.
        own_weight: α ≥ 0: how much S_i is asked to explain x_i, and not only to explain it better than S_k does.
        pairs: "all", or the number of negatives of a text.

    Raises:
        ValueError: a number out of range, or no pairs.
    """

    def __init__(self, weight: float | Schedule = 1.0, own_weight: float = 0.0, pairs: Pairs = "all") -> None:
        super().__init__()
        self.weight = weight if isinstance(weight, Schedule) else non_negative("weight", weight)
        self.own_weight = non_negative("own_weight", own_weight)
        self.pairs = checked_pairs(pairs)
        if pairs == "none":
            raise ValueError(PAIRLESS)

    @abstractmethod
    def contrast(self, nll: PromptNLL) -> Tensor:
        """The scalar that falls as own pairs (x_i, S_i) become likelier than others; 0 without a valid negative."""

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        """Terms `loss`, `sufficiency`, `own` and `contrast`, and `weight` where λ has a schedule."""
        sufficiency = masked_mean(nll.domain, nll.valid)
        own = masked_mean(own_nll(nll), nll.valid)
        contrast = self.contrast(nll)
        weight = self.weight(progress) if isinstance(self.weight, Schedule) else self.weight
        loss = sufficiency + weight * (contrast + self.own_weight * own)
        terms = {"loss": loss, "sufficiency": sufficiency, "own": own, "contrast": contrast}
        if isinstance(self.weight, Schedule):
            terms["weight"] = loss.new_tensor(weight)
        return terms


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask`; 0 (with zero gradient) where nothing is masked in.

    Excluded entries may hold anything, NaN and infinity included.
    """
    kept = values.masked_fill(~mask, 0.0)
    return kept.sum() / mask.sum().clamp(min=1)


def own_nll(nll: PromptNLL) -> Tensor:
    """(B,) NLL(x_i | D, S_i), 0 on rows that are not valid.

    Raises:
        ValueError: the loss was given no pairs; set `pairs` on the loss class.
    """
    paired, is_own, _ = require_pairs(nll)
    return paired.masked_fill(~(is_own & nll.valid[:, None]), 0.0).sum(dim=1)


def negatives(nll: PromptNLL) -> Tensor:
    """(B, K) bool: which entries of `paired` are NLLs of a text under another sample's tokens.

    Raises:
        ValueError: the loss was given no pairs; set `pairs` on the loss class.
    """
    _, is_own, pair_valid = require_pairs(nll)
    return pair_valid & ~is_own & nll.valid[:, None]


def by_prompt(nll: PromptNLL, values: Tensor | None, mask: Tensor) -> Tensor:
    """(B, B) NLLs with the prompts in rows: entry (k, i) is text i under the S of row k, inf where `mask` is False.

    Args:
        nll: says which prompt a column is.
        values: (B, K), as `paired`; masked-out entries may hold anything.
        mask: (B, K) bool.

    Raises:
        ValueError: the loss was given no pairs, or not which prompts they are.
    """
    if values is None or nll.prompt_row is None:
        raise ValueError(
            "this loss needs (text, sample prompt) pairs and `prompt_row`; set `pairs` to 'all' or a number"
        )
    table = values.new_full((len(values), len(values)), math.inf)
    return table.scatter(1, nll.prompt_row, values.masked_fill(~mask, math.inf)).T


def require_pairs(nll: PromptNLL) -> tuple[Tensor, Tensor, Tensor]:
    """The three pair tensors, each (B, K).

    Raises:
        ValueError: there are none; set `pairs` on the loss class.
    """
    if nll.paired is None or nll.is_own is None or nll.pair_valid is None:
        raise ValueError(PAIRLESS)
    return nll.paired, nll.is_own, nll.pair_valid
