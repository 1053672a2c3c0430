"""From prompts to embeddings, behind domain and sample tokens; apart from their ids, since a check needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from domino_lightning.generation.language_model import ModelSource, Prompt
from domino_lightning.generation.prompts import PromptIds
from domino_lightning.models.backbone import load_backbone, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptEncoder(PromptIds):
    """Lays prompts out as `[BOS] D [S_k] prompt`, or without D as `PromptIds` does.

    Args:
        tokenizer: of the model.
        embed: the model's input embeddings, scaled as its layers see them.
        domain: (D, H) domain tokens that stand before every prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, embed: nn.Module, domain: Tensor | None = None) -> None:
        super().__init__(tokenizer, behind_domain=domain is not None)
        self.embed, self.domain = embed, domain

    def vectors(self, ids: Sequence[int]) -> Tensor:
        """(L, H) embeddings of token ids."""
        device = next(self.embed.parameters()).device
        with torch.no_grad():
            vectors: Tensor = self.embed(torch.tensor(ids, dtype=torch.long, device=device))
        return vectors

    def split(
        self, prompts: Sequence[Prompt], sample_tokens: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(P, H) embeddings that all prompts begin with, and (L, H), L ≥ 1, of what is each one's own."""
        ids = [self.ids(prompt) for prompt in prompts]
        shared = common_prefix(ids) if sample_tokens is None else 0
        start = self.vectors(ids[0][:shared])
        if self.domain is not None:
            start = torch.cat([self.vectors(self.bos), self.domain.to(start), start])
        vectors = {each: self.vectors(each) for each in {tuple(each[shared:]) for each in ids}}
        own = [vectors[tuple(each[shared:])] for each in ids]  # one tensor for equal ones, which are encoded once
        if sample_tokens is not None:
            own = [torch.cat([extra.to(start), rest]) for extra, rest in zip(sample_tokens, own, strict=True)]
        if min(map(len, own)) == 0:  # every row is fed a vector of its own to begin with
            last, start = start[-1:], start[:-1]
            longer = {id(rest): torch.cat([last, rest]) for rest in own}
            own = [longer[id(rest)] for rest in own]
        return start, own

    def whole(self, prompts: Sequence[Prompt], sample_tokens: Sequence[Tensor] | None = None) -> list[Tensor]:
        """(L, H) embeddings of each prompt from its first token on."""
        start, own = self.split(prompts, sample_tokens)
        return [torch.cat([start, each]) for each in own]


def soft_encoder(source: ModelSource, dtype: str) -> PromptEncoder:
    """The encoder of a soft prompt for an engine that holds the weights elsewhere: only the embeddings are kept."""
    from domino_lightning.models.soft_prompt import read_soft_prompt

    if source.soft_prompt is None:
        raise TypeError("the source has no soft prompt")
    domain, _ = read_soft_prompt(source.soft_prompt, source.backbone)
    embed = load_backbone(source.backbone, dtype).get_input_embeddings()
    return PromptEncoder(load_tokenizer(source.tokenizer or source.backbone), embed, domain)


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all prompts share, leaving every prompt at least one of its own."""
    shortest = min(map(len, prompts))
    shared = 0
    while shared < shortest - 1 and len({prompt[shared] for prompt in prompts}) == 1:
        shared += 1
    return shared
