"""D, the soft tokens that all samples of a domain share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from domino_lightning.utils.contract import Contract


class DomainTokens(Contract, nn.Module, more="domino_lightning.nn.VariationalDomainTokens is an example."):
    """A table of D trainable vectors. Subclass it, overriding `forward` and `regularizers`, for another kind.

    Args:
        start: (D, H) vectors that it starts from.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)

    def forward(self) -> Tensor:
        """The (D, H) vectors that stand before a text; a subclass may sample them."""
        return self.weight

    def regularizers(self) -> dict[str, Tensor]:
        """Named scalar terms that the module adds to the loss."""
        return {}

    def exported(self) -> Tensor:
        """The (D, H) vectors to keep after training, without noise."""
        return self.weight.detach()


class VariationalDomainTokens(DomainTokens):
    """Gaussian domain tokens that pay for their information: a variational bottleneck (Alemi et al. 2017, 1612.00410).

    D ~ q = N(μ, diag σ²) in training, by the reparametrisation trick; μ in validation and in the export. The loss
    gains β · KL(q ‖ p) with the prior p = N(m, diag s²) fitted to the rows of the embedding matrix:
    KL = Σ log(s/σ) + (σ² + (μ − m)²) / (2 s²) − ½ ≥ 0 nats, 0 where D carries nothing. That makes "minimal"
    literal: the KL bounds what D can tell about the references.

    Args:
        mean: (D, H) where μ starts.
        vocabulary: (V, H) embedding matrix of the backbone.
        beta: β ≥ 0, in nats/token per nat of KL.
        noise: σ at the start as a share of s; in (0, 1].
    """

    prior_mean: Tensor
    prior_std: Tensor

    def __init__(self, mean: Tensor, vocabulary: Tensor, beta: float, noise: float) -> None:
        super().__init__(mean)
        self.beta = beta
        rows = vocabulary.detach().float().cpu()
        self.register_buffer("prior_mean", rows.mean(dim=0))
        self.register_buffer("prior_std", rows.std(dim=0).clamp(min=1e-6))
        self.log_std = nn.Parameter((self.prior_std.log() + math.log(noise)).expand_as(mean).clone())

    def forward(self) -> Tensor:
        """A (D, H) draw from q in training, μ otherwise."""
        if not self.training:
            return self.weight
        return self.weight + self.log_std.exp() * torch.randn_like(self.weight)

    def kl(self) -> Tensor:
        """KL(q ‖ p) in nats, a scalar."""
        ratio = (self.log_std - self.prior_std.log()).exp()
        shift = (self.weight - self.prior_mean) / self.prior_std
        return ((ratio.square() + shift.square() - 1) / 2 - ratio.log()).sum()

    def regularizers(self) -> dict[str, Tensor]:
        """`weighted_kl`: β · KL, in nats/token."""
        return {"weighted_kl": self.beta * self.kl()}
