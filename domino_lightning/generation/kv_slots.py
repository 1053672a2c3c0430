"""Keys and values while decoding: one copy of what all rows share, and a slot of its own for every running row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domino_lightning.models.attention import Attention, View, causal_attention, replaced_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROWTH = 64  # columns by which slots grow at least


class Prefix(Attention):
    """The shared prefix, encoded once in a batch of one.

    Attributes:
        length: P, tokens of the prefix.
        keys, values: (Hkv, P, d) of each layer.
    """

    def __init__(self, model: PreTrainedModel, embeds: Tensor) -> None:
        super().__init__()
        self.length = len(embeds)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        if self.length:
            positions = torch.arange(self.length, device=embeds.device)[None]
            with torch.inference_mode(), replaced_attention(model):
                self.forward(model.base_model, embeds[None], positions)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        """Causal attention inside the prefix, which is kept."""
        self.keys.append(key[0])
        self.values.append(value[0])
        return causal_attention(query, key, value, scale, view)

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
        super().__init__()
        self.model, self.prefix, self.device = model, prefix, model.device
        self.lengths = [0] * count
        layers = model.config.get_text_config().num_hidden_layers
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self._biases: dict[View, Tensor] = {}

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
        filling = _Filling(self, torch.tensor(slots, device=self.device))
        filling.forward(self.model.base_model, embeds, positions.expand(len(slots), -1))

    def step(self, embeds: Tensor) -> Tensor:
        """(N, V) logits after one more token of every row, given as (N, H) embeddings."""
        self.rows = torch.arange(len(self.lengths), device=self.device)
        self.at = torch.tensor(self.lengths, device=self.device)
        self.width = max(self.lengths) + 1
        self._biases.clear()
        positions = (self.prefix.length + self.at)[:, None]
        output = self.forward(self.model, embeds[:, None], positions, logits_to_keep=1)
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

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
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
        weights = torch.softmax(scores + self._bias(view, scores), dim=-1, dtype=torch.float32).to(value.dtype)
        if not self.prefix.length:
            return (weights @ values).view(count, -1, 1, value.shape[-1])
        mixed = weights[..., self.prefix.length :] @ values
        mixed += _by_row(_by_head(weights[..., : self.prefix.length]) @ self.prefix.values[layer], count)
        return mixed.view(count, -1, 1, value.shape[-1])

    def _bias(self, view: View, scores: Tensor) -> Tensor:
        """(N, 1, 1, P + T): 0 where a row's new token may look, -inf elsewhere."""
        if view not in self._biases:
            columns = torch.arange(self.prefix.length + self.width, device=self.device)
            seen = view.between((self.prefix.length + self.at)[:, None], columns)
            bias = scores.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
            self._biases[view] = bias[:, None, None]
        return self._biases[view]


class _Filling(Attention):
    """Prompts on their way into their slots."""

    def __init__(self, slots: Slots, index: Tensor) -> None:
        super().__init__()
        self.slots, self.index = slots, index

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        width = key.shape[2]
        keys, values = self.slots.room(layer, key, value, width)
        keys[self.index, :, :width], values[self.index, :, :width] = key, value
        return causal_attention(query, *self.slots.prefix.before(layer, key, value), scale, view)


def _by_head(rows: Tensor) -> Tensor:
    """(N, Hkv, G, x) → (Hkv, N·G, x)."""
    return rows.transpose(0, 1).flatten(1, 2)


def _by_row(heads: Tensor, count: int) -> Tensor:
    """(Hkv, N·G, x) → (N, Hkv, G, x)."""
    return heads.unflatten(1, (count, -1)).transpose(0, 1)
