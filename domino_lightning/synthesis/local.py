"""A transformers model in memory behind the interface of a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.synthesis.drawing import row_noise
from domino_lightning.synthesis.engine import common_prefix, decode
from domino_lightning.synthesis.language_model import LanguageModel, Prompt, Sampled, Sampling
from domino_lightning.synthesis.slots import Prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalModel(LanguageModel):
    """A transformers model in memory.

    Args:
        model: a causal LM in eval mode.
        tokenizer: its tokenizer.
        batch_size: rows decoded at a time.
        domain: (D, H) domain tokens that stand before every prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 48,
        domain: Tensor | None = None,
    ) -> None:
        from domino_lightning.backbone import bos_ids

        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.eos_ids = end_ids(model, tokenizer)
        self.bos = bos_ids(tokenizer)
        self.domain = None if domain is None else domain.to(model.device, model.dtype)
        self._encoded: tuple[Tensor, Prefix] | None = None

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        after_domain: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """Decode the prompts as one block; what all of them begin with is encoded once.

        Args:
            prompts: chats or texts.
            rows: their row numbers.
            seed: of the noise.
            sampling: how tokens are drawn.
            on_tokens: called after every step.
            after_domain: (S, H) vectors between the domain tokens and each prompt.
        """
        if not prompts:
            return []
        prefix, own = self._layout([self._encode(prompt) for prompt in prompts], after_domain)
        noise = None if sampling.temperature == 0 else row_noise(rows, sampling.max_new_tokens, seed)
        decoded = decode(
            self.model, self._prefix(prefix), own, noise, sampling, self.eos_ids, self.batch_size, on_tokens
        )
        texts = self.tokenizer.batch_decode([each.ids for each in decoded], skip_special_tokens=True)
        return [Sampled(text, each.finished, len(each.ids)) for text, each in zip(texts, decoded, strict=True)]

    def _encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; BOS before a text unless it stands before the domain tokens."""
        from domino_lightning.data.synthetic import encode_prompt

        if not isinstance(prompt, str):
            return encode_prompt(prompt, self.tokenizer)
        ids = self.tokenizer(prompt, add_special_tokens=False).input_ids
        return [*self.bos, *ids] if self.domain is None else list(ids)

    def _layout(self, prompts: list[list[int]], after_domain: Sequence[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """(P, H) embeddings that all rows share, and (L, H), L ≥ 1, of what is each row's own."""
        if self.domain is None:
            shared = common_prefix(prompts)
            start = self._embed(prompts[0][:shared])
        else:
            shared = common_prefix(prompts) if after_domain is None else 0
            start = torch.cat([self._embed(self.bos), self.domain, self._embed(prompts[0][:shared])])
        own = [self._embed(prompt[shared:]) for prompt in prompts]
        if after_domain is not None:
            own = [torch.cat([extra.to(start), ids]) for extra, ids in zip(after_domain, own, strict=True)]
        if min(map(len, own)) == 0:  # every row is fed a vector of its own to begin with
            if len(start) == 0:
                raise UserError("engine: an empty prompt, and the tokenizer has no BOS to begin with.")
            start, own = start[:-1], [torch.cat([start[-1:], ids]) for ids in own]
        return start, own

    def _embed(self, ids: Sequence[int]) -> Tensor:
        embed = self.model.get_input_embeddings()
        with torch.no_grad():
            vectors: Tensor = embed(torch.tensor(ids, dtype=torch.long, device=self.model.device))
        return vectors

    def _prefix(self, embeds: Tensor) -> Prefix:
        """The encoded prefix, kept for the next block that has the same."""
        if self._encoded is None or not torch.equal(self._encoded[0], embeds):
            self._encoded = embeds, Prefix(self.model, embeds)
        return self._encoded[1]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that end a text: the tokenizer's EOS, and what the model's own generation settings name beside it."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return frozenset(each for each in ids if isinstance(each, int))
