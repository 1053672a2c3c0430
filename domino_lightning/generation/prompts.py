"""From prompts to token ids and embeddings, the same way for every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from domino_lightning.data.chat import encode_prompt
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import ModelSource, Prompt
from domino_lightning.models.backbone import (
    SHORTER,
    bos_ids,
    check_positions,
    load_backbone,
    load_tokenizer,
)
from domino_lightning.models.lookups import kept_counts, positions_of, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PromptEncoder:
    """Lays prompts out as `[BOS] D [S_k] prompt`, or without D as the chat template or `[BOS] text` has it.

    Args:
        tokenizer: of the model.
        embed: the model's input embeddings, scaled as its layers see them; None where only ids are asked for.
        domain: (D, H) domain tokens that stand before every prompt.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, embed: nn.Module | None = None, domain: Tensor | None = None
    ) -> None:
        self.tokenizer, self.embed, self.domain = tokenizer, embed, domain
        self.bos = bos_ids(tokenizer)

    def ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; BOS before a text, unless it stands before the domain tokens.

        Raises:
            UserError: nothing to begin with.
        """
        if not isinstance(prompt, str):
            return encode_prompt(prompt, self.tokenizer)
        ids = list(self.tokenizer(prompt, add_special_tokens=False).input_ids)
        if self.domain is not None:
            return ids
        if not self.bos and not ids:
            raise UserError("engine: an empty prompt, and the tokenizer has no BOS to begin with.")
        return [*self.bos, *ids]

    def vectors(self, ids: Sequence[int]) -> Tensor:
        """(L, H) embeddings of token ids."""
        if self.embed is None:
            raise TypeError("this encoder was made without embeddings")
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


def check_lengths(backbone: str, prompts: Mapping[str, Prompt], new: int, where: str, remedy: str = SHORTER) -> None:
    """Refuse prompts behind which a backbone has too few positions for `new` tokens; its weights are not loaded.

    Raises:
        UserError: see `check_positions`; or what a chat template refuses.
    """

    def count() -> list[int]:
        encoder = PromptEncoder(read_tokenizer(backbone))
        return [len(encoder.ids(prompt)) for prompt in prompts.values()]

    tokens = kept_counts(backbone, ["prompt", *prompts.values()], count)
    check_positions(positions_of(backbone), dict(zip(prompts, tokens, strict=True)), new, where, remedy)


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


def end_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None) -> frozenset[int]:
    """Ids that end a text: the EOS, what the model's generation settings name beside it, a chat's end of turn."""
    from domino_lightning.data.chat import end_of_turn

    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = {tokenizer.eos_token_id, end_of_turn(tokenizer), *(named if isinstance(named, list) else [named])}
    return frozenset(each for each in ids if isinstance(each, int))
