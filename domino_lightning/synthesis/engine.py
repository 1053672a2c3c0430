"""Batched sampling with a KV cache: what all rows share is encoded once, noise is keyed by row and position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from domino_lightning.seeding import generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPACT_BELOW = 0.75  # share of rows still running at which finished ones are dropped from the cache


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy."""

    temperature: float = 0.8
    top_p: float = 1.0
    max_new_tokens: int = 128


class Decoded(NamedTuple):
    """Token ids of one row without its EOS, and whether the EOS was reached."""

    ids: list[int]
    finished: bool


def row_noise(rows: Sequence[int], length: int, seed: int) -> Tensor:
    """(B, T) uniforms in [0, 1); row k's depend on (seed, k) alone, whatever batch it is in."""
    return torch.stack(
        [torch.rand(length, dtype=torch.float64, generator=generator("row", seed, row)) for row in rows]
    )


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prefix: Tensor,
    prompts: Sequence[Sequence[int]],
    noise: Tensor | None,
    sampling: Sampling,
    eos_ids: frozenset[int],
) -> list[Decoded]:
    """Continue B prompts that share a prefix.

    Args:
        model: a causal LM in eval mode.
        prefix: (P, H) embeddings before every prompt, encoded once; P ≥ 1.
        prompts: token ids after the prefix, ragged, possibly all empty.
        noise: (B, T) uniforms with T ≥ `sampling.max_new_tokens`; None for greedy.
        sampling: temperature, top-p and length.
        eos_ids: ids that end a row.

    Returns:
        One `Decoded` a prompt, in order.
    """
    state = _prefill(model, prefix, prompts)
    count = len(prompts)
    outputs: list[list[int]] = [[] for _ in range(count)]
    finished = [False] * count
    active = torch.arange(count)
    running = torch.ones(count, dtype=torch.bool)  # of the rows still in the cache
    for position in range(sampling.max_new_tokens):
        uniforms = None if noise is None else noise[active, position]
        tokens = _draw(state.logits, uniforms, sampling)
        for slot, (row, token) in enumerate(zip(active.tolist(), tokens.tolist(), strict=True)):
            if not running[slot]:
                continue
            if token in eos_ids:
                running[slot], finished[row] = False, True
            else:
                outputs[row].append(token)
        if not bool(running.any()) or position + 1 == sampling.max_new_tokens:
            break
        if running.float().mean() < COMPACT_BELOW:
            kept = running.nonzero().squeeze(1)
            state.keep(kept)
            active, tokens, running = active[kept], tokens[kept.to(tokens.device)], running[kept]
        state.advance(model, tokens)
    return [Decoded(ids, done) for ids, done in zip(outputs, finished, strict=True)]


@dataclass
class _State:
    """What decoding carries: the cache, who attends to what, where each row stands, the next token's logits."""

    cache: Any
    mask: Tensor  # (B, past)
    positions: Tensor  # (B,) position of the next token
    logits: Tensor  # (B, V)

    def keep(self, rows: Tensor) -> None:
        rows = rows.to(self.mask.device)
        self.cache.batch_select_indices(rows)
        self.mask, self.positions, self.logits = self.mask[rows], self.positions[rows], self.logits[rows]

    def advance(self, model: PreTrainedModel, tokens: Tensor) -> None:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        output = model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.positions = self.positions + 1
        self.logits = output.logits[:, -1]


def _prefill(model: PreTrainedModel, prefix: Tensor, prompts: Sequence[Sequence[int]]) -> _State:
    from transformers import DynamicCache

    count, length, device = len(prompts), len(prefix), prefix.device
    cache = DynamicCache(config=model.config)
    output = model(inputs_embeds=prefix[None].to(model.dtype), past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(count)
    longest = max(map(len, prompts))
    mask = torch.ones(count, length, dtype=torch.long, device=device)
    positions = torch.full((count,), length, device=device)
    if longest == 0:
        return _State(cache, mask, positions, output.logits[:, -1].expand(count, -1))
    if any(cache.is_sliding) and min(map(len, prompts)) < longest:
        return _prefill_apart(model, prefix, prompts)
    # Left padding, so that every row's last token stands in the last column.
    ids = torch.zeros(count, longest, dtype=torch.long, device=device)
    here = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        if prompt:
            ids[row, -len(prompt) :] = torch.tensor(prompt, device=device)
            here[row, -len(prompt) :] = 1
    mask = torch.cat([mask, here], dim=1)
    position_ids = length + (here.cumsum(dim=1) - 1).clamp(min=0)
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _State(cache, mask, length + here.sum(dim=1), output.logits[:, -1])


def _prefill_apart(model: PreTrainedModel, prefix: Tensor, prompts: Sequence[Sequence[int]]) -> _State:
    """Ragged prompts with the prefix encoded in every row, and all padding before it.

    A sliding window is counted in cache slots, so padding after a shared prefix would take up room in it.
    """
    from transformers import DynamicCache

    longest, device = max(map(len, prompts)), prefix.device
    embed = model.get_input_embeddings()
    inputs = prefix.new_zeros(len(prompts), longest + len(prefix), prefix.shape[1])
    mask = torch.zeros(inputs.shape[:2], dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        own = embed(torch.tensor(prompt, dtype=torch.long, device=device)).to(prefix.dtype)
        inputs[row, longest - len(prompt) :] = torch.cat([prefix, own])
        mask[row, longest - len(prompt) :] = 1
    cache = DynamicCache(config=model.config)
    output = model(
        inputs_embeds=inputs.to(model.dtype),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _State(cache, mask, mask.sum(dim=1), output.logits[:, -1])


def _draw(logits: Tensor, uniforms: Tensor | None, sampling: Sampling) -> Tensor:
    """(B,) tokens by inverse transform: the first token at which the cumulative probability passes the uniform."""
    if uniforms is None or sampling.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        ordered, index = probabilities.sort(dim=-1, descending=True)
        outside = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        probabilities = probabilities.scatter(-1, index, ordered.masked_fill(outside, 0.0))
    cumulative = probabilities.cumsum(dim=-1)
    goal = uniforms.to(cumulative.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, goal, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all prompts share, leaving every prompt at least one of its own."""
    shortest = min(map(len, prompts))
    shared = 0
    while shared < shortest - 1 and len({prompt[shared] for prompt in prompts}) == 1:
        shared += 1
    return shared
