"""Keys and values while decoding: one copy of what all rows share, and a slot of its own for every running row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domino_lightning.generation.graphs import StepGraphs, sent
from domino_lightning.models.attention import Attention, View, causal_attention, replaced_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROWTH = 64  # columns by which slots grow at least
FILL_TOKENS = 4096  # tokens of prompts, padding included, that are encoded at a time


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

    All that a step reads and writes stays where it is and keeps its shape, so that a step can be captured.

    Args:
        model: a causal LM in eval mode.
        prefix: what stands before every row.
        count: N, slots to begin with.
        columns: tokens that a row has at most, the shared ones not counted.
        bucket: a step attends to a multiple of so many columns.
        graphs: of the steps; None: they are run as they are.

    Attributes:
        count: slots now, the first ones of every buffer.
        lengths: tokens of each row after the prefix that are held here; `at` has them on the device.
        fed: (N, H) the embedding that each row is fed next.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prefix: Prefix,
        count: int,
        columns: int,
        bucket: int = 1,
        graphs: StepGraphs | None = None,
    ) -> None:
        super().__init__()
        self.model, self.prefix, self.device = model, prefix, model.device
        self.count, self.bucket, self.graphs = count, bucket, graphs
        self.columns = -(-columns // bucket) * bucket
        self.lengths = [0] * count
        self.at = torch.zeros(count, dtype=torch.long, device=self.device)
        self.every = torch.arange(count, device=self.device)
        table: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
        self.fed = torch.zeros(count, table.shape[-1], dtype=model.dtype, device=self.device)
        self.held: list[Tensor | None] = [None] * count  # the prompt at the beginning of each slot, encoded
        layers = model.config.get_text_config().num_hidden_layers
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self._biases: dict[View, Tensor] = {}

    def admit(self, slots: Sequence[int], prompts: Sequence[Tensor]) -> None:
        """Encode prompts, (L, H) each and L ≥ 1, into the given slots, up to their last token, which is fed next.

        A prompt that several rows have, as the same tensor, is encoded once: the slots of the others take a copy.
        """
        self._place(slots, [len(prompt) - 1 for prompt in prompts])
        self.fed[sent(slots, self.device)] = torch.stack([prompt[-1] for prompt in prompts]).to(self.fed)
        source = {id(prompt): slot for slot, prompt in enumerate(self.held) if prompt is not None}
        known: list[tuple[int, int]] = []  # slots from and to which is copied before anything is encoded, and after
        again: list[tuple[int, int]] = []
        new: dict[int, tuple[int, Tensor]] = {}
        for slot, prompt in zip(slots, prompts, strict=True):
            if len(prompt) == 1 or self.held[slot] is prompt:
                continue
            if id(prompt) in source:
                known.append((source[id(prompt)], slot))
            elif id(prompt) in new:
                again.append((new[id(prompt)][0], slot))
            else:
                new[id(prompt)] = slot, prompt
        self._copy(known)
        for part in _parts(list(new.values())):
            self._encode(*zip(*part, strict=True))
        self._copy(again)
        for slot, prompt in zip(slots, prompts, strict=True):
            self.held[slot] = prompt

    def fresh(self, prompt: Tensor) -> bool:
        """Whether a prompt has to be encoded to be admitted."""
        return len(prompt) > 1 and not any(held is prompt for held in self.held)

    def pause(self, slots: Sequence[int]) -> None:
        """Slots that no row has until one is admitted: they begin again after the prompt that they hold."""
        held = [self.held[slot] for slot in slots]
        self._place(slots, [0 if prompt is None else len(prompt) - 1 for prompt in held])

    def rest(self, slots: Sequence[int]) -> None:
        """Slots that no row has from now on: they begin anew, so as to stay narrower than those of running rows."""
        self._place(slots, [0] * len(slots))
        for slot in slots:
            self.held[slot] = None

    def shrink(self, moves: Sequence[tuple[int, int]], count: int) -> None:
        """Keep the first `count` slots, after those of the given pairs are moved from the first to the second."""
        self._copy(moves, max(self.lengths))
        if moves:
            away, to = (sent(slots, self.device) for slots in zip(*moves, strict=True))
            for state in (self.at, self.fed):
                state[to] = state[away]
            for one, other in moves:
                self.lengths[other], self.held[other] = self.lengths[one], self.held[one]
        self.count, self.lengths, self.held = count, self.lengths[:count], self.held[:count]

    def step(self) -> Tensor:
        """(N, V) logits after one more token of every row, the one in `fed`; the next step may overwrite them."""
        width = -(-(max(self.lengths) + 1) // self.bucket) * self.bucket
        if self.graphs is None or self.keys[-1] is None:  # a graph finds all buffers where they will stay
            logits = self._step(width)
        else:
            logits = self.graphs.run(self.count, width, lambda: self._step(width))
        last = self.columns - 1  # where slots that no row has come to rest
        self.at.add_(1).clamp_(max=last)
        self.lengths = [min(length + 1, last) for length in self.lengths]
        return logits

    def _step(self, width: int) -> Tensor:
        """A step of fixed shapes. It asks the device for nothing, and changes nothing if it is done again."""
        self.width = width
        self._biases.clear()
        positions = (self.prefix.length + self.at[: self.count])[:, None]
        output = self.forward(self.model, self.fed[: self.count, None], positions, logits_to_keep=1)
        self._biases.clear()
        logits: Tensor = output.logits[:, -1]
        return logits

    def _place(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        for slot, length in zip(slots, lengths, strict=True):
            self.lengths[slot] = length
        self.at[sent(slots, self.device)] = sent(lengths, self.device)

    def _encode(self, slots: Sequence[int], prompts: Sequence[Tensor]) -> None:
        """All but the last token of prompts, into their slots, in place of what was there."""
        # Padding stands after a row: nothing of the row attends to it, and later tokens are written over it.
        embeds = torch.nn.utils.rnn.pad_sequence([prompt[:-1] for prompt in prompts], batch_first=True)
        positions = self.prefix.length + torch.arange(embeds.shape[1], device=self.device)
        filling = _Filling(self, sent(slots, self.device))
        filling.forward(self.model.base_model, embeds, positions.expand(len(slots), -1))

    def _copy(self, pairs: Sequence[tuple[int, int]], width: int | None = None) -> None:
        """Keys and values of so many columns, by default all of the rows' own, from slots into others."""
        if not pairs:
            return
        away, to = (sent(slots, self.device) for slots in zip(*pairs, strict=True))
        width = max(self.lengths[slot] for _, slot in pairs) if width is None else width
        for buffers in (self.keys, self.values):
            for buffer in buffers:
                if buffer is not None:
                    buffer[to, :, :width] = buffer[away, :, :width]

    def room(self, layer: int, key: Tensor, value: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """The layer's (N, Hkv, T, d) buffers with T ≥ width; zero where nothing was written, never uninitialized."""
        for buffers, new in ((self.keys, key), (self.values, value)):
            old = buffers[layer]
            if old is None or old.shape[2] < width:
                columns = self.columns if self.graphs is not None else width + max(GROWTH, width // 2)
                grown = new.new_zeros(self.count, new.shape[1], columns, new.shape[3])
                if old is not None:
                    grown[:, :, : old.shape[2]] = old[: self.count]
                buffers[layer] = grown
        return self.keys[layer], self.values[layer]  # type: ignore[return-value]

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        """Write one token of every row, and attend to the prefix and the row."""
        count, heads = key.shape[:2]
        keys, values = self.room(layer, key, value, self.width)
        rows, at = self.every[:count], self.at[:count]
        keys[rows, :, at] = key[:, :, 0]
        values[rows, :, at] = value[:, :, 0]
        keys, values = keys[:count, :, : self.width], values[:count, :, : self.width]
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
        if view not in self._biases:  # layers share them
            positions = (self.prefix.length + self.at[: self.count])[:, None]
            seen = view.between(positions, torch.arange(scores.shape[-1], device=self.device))
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


def _parts(new: Sequence[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    """Runs of prompts for slots whose padded tokens are few enough to be encoded together."""
    part: list[tuple[int, Tensor]] = []
    widest = 0
    for pair in new:
        width = max(widest, len(pair[1]))
        if part and width * (len(part) + 1) > FILL_TOKENS:
            yield part
            part, width = [], len(pair[1])
        part.append(pair)
        widest = width
    if part:
        yield part


def _by_head(rows: Tensor) -> Tensor:
    """(N, Hkv, G, x) → (Hkv, N·G, x)."""
    return rows.transpose(0, 1).flatten(1, 2)


def _by_row(heads: Tensor, count: int) -> Tensor:
    """(Hkv, N·G, x) → (N, Hkv, G, x)."""
    return heads.unflatten(1, (count, -1)).transpose(0, 1)
