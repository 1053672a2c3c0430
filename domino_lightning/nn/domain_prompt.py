"""What D is to be, as a section describes it; the tensors themselves lie in `domain_tokens`, since they bring torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domino_lightning.nn.starts import DomainInit
from domino_lightning.utils.conformance import shown
from domino_lightning.utils.contract import Contract, broken
from domino_lightning.utils.ranges import ONE_OR_MORE, UNIT_OPEN_LOW, ZERO_OR_MORE

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from domino_lightning.nn.domain_tokens import DomainTokens


class DomainPrompt(Contract, more="`domino help DomainPrompt` says what it gives."):
    """How many tokens D has and where they start. Subclass it, overriding `tokens`, for another kind.

    Args:
        num_tokens: D.
        init: `vocabulary` copies distinct random rows of the embedding matrix; `normal` draws vectors with the
            rows' mean, standard deviation and norm; `text` takes the token embeddings of a text; `soft_prompt`
            the tokens of a tuned prompt. The last two are cut or repeated to D with a notice.
        init_from: the text, or the directory or file of the soft prompt.
    """

    def __init_subclass__(cls, **others: Any) -> None:
        """Refuse what would not be asked: what D gives while it trains is up to its tokens."""
        super().__init_subclass__(**others)
        if strange := {"initialize", "forward", "regularizers", "exported", "kl"} & vars(cls).keys():
            raise TypeError(
                f"{cls.__name__} overrides {min(strange)}, and a DomainPrompt only describes D: override it in a "
                "DomainTokens, and give that by `tokens` (domino_lightning.nn.VariationalDomainPrompt does)."
            )

    def __init__(self, num_tokens: int = 8, init: DomainInit = "vocabulary", init_from: str | None = None) -> None:
        if num_tokens not in ONE_OR_MORE:
            raise ValueError(f"num_tokens must be {ONE_OR_MORE.refusal(num_tokens)}, not {num_tokens}")
        if (init in ("text", "soft_prompt")) != (init_from is not None):
            raise ValueError(
                f"init_from goes with init 'text' or 'soft_prompt'; init is '{init}', init_from {init_from!r}"
            )
        self.num_tokens = num_tokens
        self.init, self.init_from = init, init_from

    def tokens(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> DomainTokens:
        """D as it starts, to be trained.

        Args:
            vocabulary: (V, H) embedding matrix of the backbone.
            generator: of what is drawn.
            tokenizer: the backbone's; only `init: text` needs it.
        """
        from domino_lightning.nn.domain_tokens import DomainTokens

        return DomainTokens(self.start(vocabulary, generator, tokenizer))

    def made(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> DomainTokens:
        """What `tokens` gives, looked at.

        Raises:
            BrokenContract: it is no `DomainTokens` of as many tokens as there are to be.
        """
        from domino_lightning.nn.domain_tokens import DomainTokens

        tokens = self.tokens(vocabulary, generator, tokenizer)
        if not isinstance(tokens, DomainTokens):
            raise broken(self, f"tokens must return a DomainTokens, and returned {shown(tokens)}")
        shape, wanted = tuple(tokens.exported().shape), (self.num_tokens, vocabulary.shape[1])
        if shape != wanted:
            raise broken(tokens, f"exported must return a tensor of shape {wanted}, and it has {shape}")
        return tokens

    def start(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> Tensor:
        """The (D, H) vectors that `init` asks for."""
        from domino_lightning.nn.initialization import draw_tokens, soft_prompt_tokens, text_tokens

        if self.init == "soft_prompt":
            return soft_prompt_tokens(self.init_from or "", self.num_tokens, vocabulary.shape[1])
        if self.init == "text":
            if tokenizer is None:
                raise ValueError("init 'text' needs the backbone's tokenizer")
            return text_tokens(vocabulary, self.num_tokens, self.init_from or "", tokenizer)
        return draw_tokens(vocabulary, self.num_tokens, self.init, generator)


class VariationalDomainPrompt(DomainPrompt):
    """Gaussian domain tokens that pay for their information, see `VariationalDomainTokens`.

    The loss is a mean over tokens, and the KL is paid once for all texts, so β = 1 / (tokens in the references) is
    the evidence lower bound, and a larger β squeezes more.

    Args:
        num_tokens: D.
        init: where μ starts, as in `DomainPrompt`.
        init_from: the text or the soft prompt.
        beta: β ≥ 0, in nats/token per nat of KL.
        noise: σ at the start as a share of s; in (0, 1].
    """

    def __init__(
        self,
        num_tokens: int = 8,
        init: DomainInit = "vocabulary",
        init_from: str | None = None,
        beta: float = 1e-5,
        noise: float = 0.1,
    ) -> None:
        super().__init__(num_tokens, init, init_from)
        if beta not in ZERO_OR_MORE or noise not in UNIT_OPEN_LOW:
            raise ValueError(f"beta {beta} must be 0 or more, noise {noise} in (0, 1]")
        self.beta, self.noise = beta, noise

    def tokens(
        self, vocabulary: Tensor, generator: torch.Generator, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> DomainTokens:
        """μ where `init` says and σ, with the prior fitted to the embedding matrix."""
        from domino_lightning.nn.domain_tokens import VariationalDomainTokens

        mean = self.start(vocabulary, generator, tokenizer)
        return VariationalDomainTokens(mean, vocabulary, self.beta, self.noise)
