"""Batched sampling of one block: a fixed number of slots, refilled from the block's waiting rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from domino_lightning.generation.drawing import draw, penalize
from domino_lightning.generation.kv_slots import Prefix, Slots
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.attention import replaced_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPACT_BELOW = 0.75  # share of slots still running at which idle ones are dropped, once no row waits
FILL_TOKENS = 4096  # tokens of prompts, padding included, that are encoded at a time


class Decoded(NamedTuple):
    """Token ids of one row without its EOS, and whether the EOS was reached."""

    ids: list[int]
    finished: bool


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prefix: Prefix,
    prompts: Sequence[Tensor],
    noise: Tensor | None,
    sampling: Sampling,
    eos_ids: frozenset[int],
    batch_size: int = 96,
    on_tokens: Callable[[int], None] | None = None,
    limits: Sequence[int] | None = None,
) -> list[Decoded]:
    """Continue the prompts of a block that share a prefix.

    Args:
        model: a causal LM in eval mode.
        prefix: what stands before every prompt.
        prompts: (L, H) embeddings of each prompt's own tokens, ragged, L ≥ 1.
        noise: (rows, T) uniforms with T ≥ `sampling.max_new_tokens`; None for greedy.
        sampling: how tokens are drawn.
        eos_ids: ids that end a row.
        batch_size: slots. A row that ends gives its slot to the next row of the block.
        on_tokens: called after every step with the number of tokens it added to texts.
        limits: tokens of each row at most, in place of `sampling.max_new_tokens`.

    Returns:
        One `Decoded` a prompt, in order.
    """
    block = _Block(model, prefix, prompts, noise, sampling, eos_ids, min(batch_size, len(prompts)), limits)
    with replaced_attention(model):
        while block.admit():
            added = block.step()
            if on_tokens is not None:
                on_tokens(added)
    return [Decoded(ids, done) for ids, done in zip(block.outputs, block.finished, strict=True)]


class _Block:
    """The rows of a block, which of them is in which slot, and the embedding that each slot is fed next."""

    def __init__(
        self,
        model: PreTrainedModel,
        prefix: Prefix,
        prompts: Sequence[Tensor],
        noise: Tensor | None,
        sampling: Sampling,
        eos_ids: frozenset[int],
        slots: int,
        limits: Sequence[int] | None,
    ) -> None:
        self.prompts, self.sampling, self.eos_ids = prompts, sampling, eos_ids
        self.noise = None if noise is None else noise.to(model.device)
        self.limits = limits or [sampling.max_new_tokens] * len(prompts)
        self.embed = model.get_input_embeddings()
        self.slots = Slots(model, prefix, slots)
        self.rows: list[int | None] = [None] * slots  # the row in each slot
        self.waiting = iter(range(len(prompts)))
        self.outputs: list[list[int]] = [[] for _ in prompts]
        self.finished = [False] * len(prompts)
        hidden = prompts[0].shape[1] if prompts else 0
        self.fed = torch.zeros(slots, hidden, dtype=model.dtype, device=model.device)
        penalized = sampling.repetition_penalty != 1
        vocabulary = model.config.get_text_config().vocab_size
        self.seen = torch.zeros(slots, vocabulary, dtype=torch.bool, device=model.device) if penalized else None

    def admit(self) -> bool:
        """Give idle slots to waiting rows, or drop them where none waits; False when all rows are done."""
        idle = [slot for slot, row in enumerate(self.rows) if row is None]
        new = list(zip(idle, self.waiting, strict=False)) if idle else []
        for slot, row in new:
            self.rows[slot] = row
            self.fed[slot] = self.prompts[row][-1]
            if self.seen is not None:
                self.seen[slot] = False
        for part in self._parts(new):
            self.slots.fill([slot for slot, _ in part], [self.prompts[row][:-1] for _, row in part])
        running = [slot for slot, row in enumerate(self.rows) if row is not None]
        if running and len(running) < COMPACT_BELOW * len(self.rows):
            self.slots.keep(running)
            self.rows = [self.rows[slot] for slot in running]
            self.fed = self.fed[running]
            self.seen = None if self.seen is None else self.seen[running]
        return bool(running)

    def _parts(self, new: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Runs of new rows whose padded prompts are few enough tokens to be encoded together."""
        part: list[tuple[int, int]] = []
        widest = 0
        for pair in new:
            width = max(widest, len(self.prompts[pair[1]]))
            if part and width * (len(part) + 1) > FILL_TOKENS:
                yield part
                part, width = [], len(self.prompts[pair[1]])
            part.append(pair)
            widest = width
        if part:
            yield part

    def step(self) -> int:
        """Draw one token of every running row; the number that became part of texts."""
        logits = self.slots.step(self.fed)
        if self.seen is not None:
            logits = penalize(logits, self.seen, self.sampling.repetition_penalty)
        tokens = draw(logits, self._uniforms(), self.sampling)
        self.fed = self.embed(tokens)
        if self.seen is not None:
            self.seen[torch.arange(len(tokens), device=tokens.device), tokens] = True
        added = 0
        for slot, (row, token) in enumerate(zip(self.rows, tokens.tolist(), strict=True)):
            if row is None:
                self.slots.lengths[slot] = 0  # an idle slot stays narrow
                continue
            if token in self.eos_ids:
                self.rows[slot], self.finished[row] = None, True
                continue
            self.outputs[row].append(token)
            added += 1
            if len(self.outputs[row]) >= self.limits[row]:
                self.rows[slot] = None
        return added

    def _uniforms(self) -> Tensor | None:
        """(N,) the noise of each slot's row at its position."""
        if self.noise is None:
            return None
        rows = [row or 0 for row in self.rows]
        positions = [0 if row is None else len(self.outputs[row]) for row in self.rows]
        return self.noise[rows, positions]
