"""D, the soft tokens that all samples of a domain share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal["vocabulary", "normal"]


class DomainPrompt(nn.Module):
    """A table of D trainable vectors. Subclass it, overriding `forward` and `regularizers`, for another kind.

    Args:
        num_tokens: D.
        init: `vocabulary` copies distinct random rows of the embedding matrix; `normal` draws vectors with the
            rows' mean and standard deviation per dimension.
    """

    def __init__(self, num_tokens: int = 8, init: Init = "vocabulary") -> None:
        super().__init__()
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be 1 or more, not {num_tokens}")
        self.num_tokens = num_tokens
        self.init = init
        self.weight = nn.Parameter(torch.empty(0))

    def initialise(self, vocabulary: Tensor, generator: torch.Generator) -> None:
        """Allocate the (D, H) table and fill it from the (V, H) embedding matrix."""
        self.weight = nn.Parameter(draw_tokens(vocabulary, self.num_tokens, self.init, generator))

    def forward(self) -> Tensor:
        """The (D, H) vectors that stand before a text; a subclass may sample them."""
        return self.weight

    def regularizers(self) -> dict[str, Tensor]:
        """Named scalar terms that the module adds to the loss."""
        return {}

    def exported(self) -> Tensor:
        """The (D, H) vectors to keep after training, without noise."""
        return self.weight.detach()


def draw_tokens(vocabulary: Tensor, count: int, init: Init, generator: torch.Generator) -> Tensor:
    """(count, H) vectors drawn from, or like, the rows of the (V, H) embedding matrix.

    Raises:
        ValueError: more distinct rows are asked for than the vocabulary has, or an unknown init.
    """
    vocabulary = vocabulary.detach().float().cpu()
    if init == "normal":
        noise = torch.randn(count, vocabulary.shape[1], generator=generator)
        return vocabulary.mean(dim=0) + noise * vocabulary.std(dim=0)
    if init != "vocabulary":
        raise ValueError(f"init must be 'vocabulary' or 'normal', not '{init}'")
    if count > len(vocabulary):
        raise ValueError(f"num_tokens {count} is more than the vocabulary's {len(vocabulary)} rows")
    return vocabulary[torch.randperm(len(vocabulary), generator=generator)[:count]].clone()
