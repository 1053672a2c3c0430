"""D, the soft tokens that all samples of a domain share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from domino_lightning.nn.initialization import draw_tokens, soft_prompt_tokens, text_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DomainInit = Literal["vocabulary", "normal", "text", "soft_prompt"]


class DomainPrompt(nn.Module):
    """A table of D trainable vectors. Subclass it, overriding `forward` and `regularizers`, for another kind.

    Args:
        num_tokens: D.
        init: `vocabulary` copies distinct random rows of the embedding matrix; `normal` draws vectors with the
            rows' mean, standard deviation and norm; `text` takes the token embeddings of a text; `soft_prompt`
            the tokens of a tuned prompt. The last two are cut or repeated to D with a notice.
        init_from: the text, or the directory or file of the soft prompt.
    """

    def __init__(self, num_tokens: int = 8, init: DomainInit = "vocabulary", init_from: str | None = None) -> None:
        super().__init__()
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be 1 or more, not {num_tokens}")
        if (init in ("text", "soft_prompt")) != (init_from is not None):
            raise ValueError(
                f"init_from goes with init 'text' or 'soft_prompt'; init is '{init}', init_from {init_from!r}"
            )
        self.num_tokens = num_tokens
        self.init, self.init_from = init, init_from
        self.weight = nn.Parameter(torch.empty(0))

    def initialize(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        """Allocate the (D, H) table and fill it.

        Args:
            vocabulary: (V, H) embedding matrix of the backbone.
            generator: of what is drawn.
            tokenizer: the backbone's; only `init: text` needs it.
        """
        self.weight = nn.Parameter(self._start(vocabulary, generator, tokenizer))

    def _start(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None
    ) -> Tensor:
        if self.init == "soft_prompt":
            return soft_prompt_tokens(self.init_from or "", self.num_tokens, vocabulary.shape[1])
        if self.init == "text":
            if tokenizer is None:
                raise ValueError("init 'text' needs the backbone's tokenizer")
            return text_tokens(vocabulary, self.num_tokens, self.init_from or "", tokenizer)
        return draw_tokens(vocabulary, self.num_tokens, self.init, generator)

    def forward(self) -> Tensor:
        """The (D, H) vectors that stand before a text; a subclass may sample them."""
        return self.weight

    def regularizers(self) -> dict[str, Tensor]:
        """Named scalar terms that the module adds to the loss."""
        return {}

    def exported(self) -> Tensor:
        """The (D, H) vectors to keep after training, without noise."""
        return self.weight.detach()


class VariationalDomainPrompt(DomainPrompt):
    """Gaussian domain tokens that pay for their information: a variational bottleneck (Alemi et al. 2017, 1612.00410).

    D ~ q = N(μ, diag σ²) in training, by the reparametrisation trick; μ in validation and in the export. The loss
    gains β · KL(q ‖ p) with the prior p = N(m, diag s²) fitted to the rows of the embedding matrix:
    KL = Σ log(s/σ) + (σ² + (μ − m)²) / (2 s²) − ½ ≥ 0 nats, 0 where D carries nothing. That makes "minimal"
    literal: the KL bounds what D can tell about the references.

    The loss is a mean over tokens, and the KL is paid once for all texts, so β = 1 / (tokens in the references) is
    the evidence lower bound, and a larger β squeezes more.

    Args:
        num_tokens: D.
        init: where μ starts, as in `DomainPrompt`.
        init_from: the text or the soft prompt.
        beta: β ≥ 0, in nats/token per nat of KL.
        noise: σ at the start as a share of s; in (0, 1].
    """

    prior_mean: Tensor
    prior_std: Tensor

    def __init__(
        self,
        num_tokens: int = 8,
        init: DomainInit = "vocabulary",
        init_from: str | None = None,
        beta: float = 1e-5,
        noise: float = 0.1,
    ) -> None:
        super().__init__(num_tokens, init, init_from)
        if not beta >= 0 or not 0 < noise <= 1:
            raise ValueError(f"beta {beta} must be 0 or more, noise {noise} in (0, 1]")
        self.beta, self.noise = beta, noise
        self.log_std = nn.Parameter(torch.empty(0))
        self.register_buffer("prior_mean", torch.empty(0))
        self.register_buffer("prior_std", torch.empty(0))

    def initialize(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        """Allocate μ and σ, both (D, H), and fit the prior to the (V, H) embedding matrix."""
        super().initialize(vocabulary, generator, tokenizer)
        rows = vocabulary.detach().float().cpu()
        self.prior_mean, self.prior_std = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
        self.log_std = nn.Parameter((self.prior_std.log() + math.log(self.noise)).expand_as(self.weight).clone())

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
