"""Keys and values while decoding: one copy of what all rows share, and a slot of its own for every running row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "domino_slots"
GROWTH = 64  # columns by which slots grow at least


class Attention(ABC):
    """What stands in for the attention of every layer during one forward pass.

    transformers hands it keys and values of the new tokens alone, with positions applied; which earlier ones they
    attend to is decided here, so no mask and no cache of its own is built.
    """

    @abstractmethod
    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """(B, Hq, L, d) queries, (B, Hkv, L, d) keys and (B, Hkv, L, e) values → (B, Hq, L, e)."""


class Prefix(Attention):
    """The shared prefix, encoded once in a batch of one.

    Attributes:
        length: P, tokens of the prefix.
        keys, values: (Hkv, P, d) of each layer.
    """

    def __init__(self, model: PreTrainedModel, embeds: Tensor) -> None:
        self.length = len(embeds)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        if self.length:
            positions = torch.arange(self.length, device=embeds.device)[None]
            with torch.inference_mode(), attention_by(model):
                model.base_model(inputs_embeds=embeds[None], position_ids=positions, use_cache=False, slots=self)
            if len(self.keys) != model.config.get_text_config().num_hidden_layers:
                raise _unsupported(model)

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """Causal attention inside the prefix, which is kept."""
        self.keys.append(key[0])
        self.values.append(value[0])
        return _causal(query, key, value, scale, window)

    def before(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of new tokens with the prefix before each of the B rows."""
        if not self.length:
            return key, value
        return tuple(  # type: ignore[return-value]
            torch.cat([shared[layer].expand(len(own), -1, -1, -1), own], dim=2)
            for shared, own in ((self.keys, key), (self.values, value))
        )


class Slots(Attention):
    """N rows after a shared prefix, each with a length of its own. Calling it decodes one token of every row.

    Attributes:
        lengths: tokens of each row after the prefix that are held here.
    """

    def __init__(self, model: PreTrainedModel, prefix: Prefix, count: int) -> None:
        self.model, self.prefix, self.device = model, prefix, model.device
        self.lengths = [0] * count
        layers = model.config.get_text_config().num_hidden_layers
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self._biases: dict[int | None, Tensor] = {}

    def fill(self, slots: Sequence[int], prompts: Sequence[Tensor]) -> None:
        """Encode prompts, (L, H) each and L ≥ 0, into the given slots, in place of what was there."""
        for slot, prompt in zip(slots, prompts, strict=True):
            self.lengths[slot] = len(prompt)
        longest = max(map(len, prompts))
        if longest == 0:
            return
        # Padding stands after a row: nothing of the row attends to it, and later tokens are written over it.
        embeds = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True)
        positions = self.prefix.length + torch.arange(longest, device=self.device)
        self.model.base_model(
            inputs_embeds=embeds,
            position_ids=positions.expand(len(slots), -1),
            use_cache=False,
            slots=_Filling(self, torch.tensor(slots, device=self.device)),
        )

    def step(self, embeds: Tensor) -> Tensor:
        """(N, V) logits after one more token of every row, given as (N, H) embeddings."""
        self.rows = torch.arange(len(self.lengths), device=self.device)
        self.at = torch.tensor(self.lengths, device=self.device)
        self.width = max(self.lengths) + 1
        self._biases.clear()
        output = self.model(
            inputs_embeds=embeds[:, None],
            position_ids=(self.prefix.length + self.at)[:, None],
            use_cache=False,
            slots=self,
            logits_to_keep=1,
        )
        self.lengths = [length + 1 for length in self.lengths]
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all other slots."""
        index = torch.tensor(slots, device=self.device)
        self.lengths = [self.lengths[slot] for slot in slots]
        for buffers in (self.keys, self.values):
            for layer, buffer in enumerate(buffers):
                if buffer is not None:
                    buffers[layer] = buffer[index]

    def room(self, layer: int, key: Tensor, value: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """The layer's (N, Hkv, T, d) buffers with T ≥ width; zero where nothing was written, never uninitialized."""
        for buffers, new in ((self.keys, key), (self.values, value)):
            old = buffers[layer]
            if old is None or old.shape[2] < width:
                columns = width + max(GROWTH, width // 2)
                grown = new.new_zeros(len(self.lengths), new.shape[1], columns, new.shape[3])
                if old is not None:
                    grown[:, :, : old.shape[2]] = old
                buffers[layer] = grown
        return self.keys[layer], self.values[layer]  # type: ignore[return-value]

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """Write one token of every row, and attend to the prefix and the row."""
        keys, values = self.room(layer, key, value, self.width)
        keys[self.rows, :, self.at] = key[:, :, 0]
        values[self.rows, :, self.at] = value[:, :, 0]
        keys, values = keys[:, :, : self.width], values[:, :, : self.width]
        count, heads = key.shape[:2]
        query = (query * scale).view(count, heads, -1, query.shape[-1])  # (N, Hkv, G, d): G heads share a key
        scores = query @ keys.transpose(2, 3)
        if self.prefix.length:  # all rows at once against the one copy
            shared = _by_head(query) @ self.prefix.keys[layer].transpose(1, 2)
            scores = torch.cat([_by_row(shared, count), scores], dim=-1)
        weights = torch.softmax(scores + self._bias(window, scores), dim=-1, dtype=torch.float32).to(value.dtype)
        if not self.prefix.length:
            return (weights @ values).view(count, -1, 1, value.shape[-1])
        mixed = weights[..., self.prefix.length :] @ values
        mixed += _by_row(_by_head(weights[..., : self.prefix.length]) @ self.prefix.values[layer], count)
        return mixed.view(count, -1, 1, value.shape[-1])

    def _bias(self, window: int | None, scores: Tensor) -> Tensor:
        """(N, 1, 1, P + T): 0 where a row's new token may look, -inf elsewhere."""
        if window not in self._biases:
            columns = torch.arange(-self.prefix.length, self.width, device=self.device)
            hidden = columns > self.at[:, None]
            if window is not None:
                hidden |= columns <= self.at[:, None] - window
            bias = scores.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            self._biases[window] = bias[:, None, None]
        return self._biases[window]


class _Filling(Attention):
    """Prompts on their way into their slots."""

    def __init__(self, slots: Slots, index: Tensor) -> None:
        self.slots, self.index = slots, index

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        width = key.shape[2]
        keys, values = self.slots.room(layer, key, value, width)
        keys[self.index, :, :width], values[self.index, :, :width] = key, value
        return _causal(query, *self.slots.prefix.before(layer, key, value), scale, window)


@contextmanager
def attention_by(model: PreTrainedModel) -> Iterator[None]:
    """Have the model's layers call the `Attention` that a forward pass is given as `slots`."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise _unsupported(model)
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    slots: Attention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer."""
    extra = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if slots is None:
        raise TypeError("a forward pass without slots while attention is replaced")
    if extra:
        raise UserError(f"engine: attention of {type(module).__name__} uses {', '.join(extra)}, which is not handled.")
    layer: int = module.layer_idx  # type: ignore[assignment]
    kinds = getattr(module.config, "layer_types", None)
    if sliding_window is None and kinds and kinds[layer] == "sliding_attention":  # told by the mask alone
        sliding_window = module.config.sliding_window  # type: ignore[union-attr, assignment]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed = slots(layer, query, key, value, scale, sliding_window)
    return mixed.transpose(1, 2).contiguous(), None


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """Attention of the last L of P + L tokens to themselves and what is before them."""
    length, total = query.shape[2], key.shape[2]
    place = torch.arange(total, device=query.device)
    seen = place <= place[total - length :, None]
    if window is not None:
        seen &= place > place[total - length :, None] - window
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)


def _by_head(rows: Tensor) -> Tensor:
    """(N, Hkv, G, x) → (Hkv, N·G, x)."""
    return rows.transpose(0, 1).flatten(1, 2)


def _by_row(heads: Tensor, count: int) -> Tensor:
    """(Hkv, N·G, x) → (N, Hkv, G, x)."""
    return heads.unflatten(1, (count, -1)).transpose(0, 1)


def _unsupported(model: PreTrainedModel) -> UserError:
    return UserError(
        f"engine: models of type '{model.config.model_type}' keep more than keys and values of full or sliding "
        "attention, which this engine cannot batch. Use domino_lightning.synthesis.VLLMEngine for it."
    )
