"""A transformers model in memory behind the interface of a language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from domino_lightning.generation.decoding import Row, stream
from domino_lightning.generation.drawing import row_noise
from domino_lightning.generation.graphs import Layout
from domino_lightning.generation.kv_slots import Prefix
from domino_lightning.generation.language_model import LanguageModel, Prompt, Sampled
from domino_lightning.generation.prompt_vectors import PromptEncoder
from domino_lightning.generation.prompts import end_ids
from domino_lightning.generation.sampling import Sampling
from domino_lightning.generation.slot_count import fitting_slots, most_slots
from domino_lightning.models.backbone import SHORTER, check_positions, positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


TURNS = 4  # rows of a queue, in slots: it ends with slots that no row waits for, and a kill costs one queue at most


class LocalModel(LanguageModel):
    """A transformers model in memory.

    Args:
        model: a causal LM in eval mode.
        tokenizer: its tokenizer.
        batch_size: rows decoded at a time; auto: as many as the memory of a GPU has room for.
        domain: (D, H) domain tokens that stand before every prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int | Literal["auto"] = 96,
        domain: Tensor | None = None,
    ) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.queue = TURNS * (most_slots(model.device) if batch_size == "auto" else batch_size)
        self.encoder = PromptEncoder(tokenizer, model.get_input_embeddings(), domain)
        self.eos_ids = end_ids(tokenizer, model)
        self.positions = positions(model.config)
        self._encoded: tuple[Tensor, Prefix] | None = None

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """Decode the prompts as one queue."""
        return list(self.stream(prompts, rows, seed, sampling, on_tokens, sample_tokens))

    def stream(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> Iterator[Sampled]:
        """Decode the prompts as one queue; what all of them begin with is encoded once, and so is each prompt."""
        if not prompts:
            return
        prefix, own = self.encoder.split(prompts, sample_tokens)
        tokens = {f"the prompt of row {row}": len(prefix) + len(each) for row, each in zip(rows, own, strict=True)}
        check_positions(self.positions, tokens, sampling.max_new_tokens, "max_new_tokens", SHORTER)
        limit = sampling.max_new_tokens
        noise = [None] * len(own) if sampling.temperature == 0 else row_noise(rows, limit, seed)
        queue = [Row(prompt, uniforms, limit) for prompt, uniforms in zip(own, noise, strict=True)]
        columns = max(map(len, own)) - 1 + limit
        start, layout = self._prefix(prefix), Layout.of(self.model.device)
        asked = self.batch_size
        slots = fitting_slots(self.model, start, columns) if asked == "auto" else asked
        slots = min(slots, len(queue))
        for ids, finished in stream(
            self.model, start, queue, columns, sampling, self.eos_ids, slots, layout, on_tokens
        ):
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            yield Sampled(str(text), finished, len(ids))

    def check_prompts(self, prompts: Mapping[str, Prompt], sampling: Sampling, where: str) -> None:
        """By the positions of the model's configuration."""
        before = len(self.encoder.domain) if self.encoder.domain is not None else 0
        tokens = {name: before + len(self.encoder.ids(prompt)) for name, prompt in prompts.items()}
        check_positions(self.positions, tokens, sampling.max_new_tokens, where, SHORTER)

    def _prefix(self, embeds: Tensor) -> Prefix:
        """The encoded prefix, kept for the next block that has the same."""
        if self._encoded is None or not torch.equal(self._encoded[0], embeds):
            self._encoded = embeds, Prefix(self.model, embeds)
        return self._encoded[1]
