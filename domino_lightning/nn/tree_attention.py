"""Attention over a packed tree of sequences: any transformers model encodes a shared prefix once.

One forward pass of the backbone gets one row of tokens, in which groups of sequences follow each other: the domain
tokens, sample tokens that continue them, texts that continue either. Every layer but attention works token by token
and never sees the tree. Attention is replaced by one that gives each sequence the keys and values of its prefix.
Nothing is padded outside attention, there is no cache object to copy, and gradients reach the prefix as they reach
any other token.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from domino_lightning.models.attention import Attention, View, causal_attention

Role = Literal["domain", "sample", "text"]
States = dict[Role, tuple[Tensor, Tensor]]  # keys and values of one layer, each (n, heads, tokens, head size)


class Group:
    """Sequences of the packed row that follow each other and continue prefixes of one length.

    Args:
        role: the one "domain" sequence is the root; "sample" sequences continue it, and texts may continue those.
        lengths: tokens of each of the n sequences.
        start: position of their first token.
        prompts: (n,) which "sample" sequence each text continues; None: the root.
        device: of the packed row.
    """

    def __init__(
        self, role: Role, lengths: list[int], start: int, device: torch.device, prompts: Tensor | None = None
    ) -> None:
        self.role, self.prompts = role, prompts
        self.count, self.tokens, self.longest = len(lengths), sum(lengths), max(lengths, default=0)
        place = torch.arange(self.longest).expand(self.count, -1)
        real = place < torch.tensor(lengths, dtype=torch.long)[:, None]
        self.positions = (start + place[real]).to(device)
        # Where each packed token stands among the padded ones; None: there are no pads.
        self.slots = None if bool(real.all()) else real.flatten().nonzero()[:, 0].to(device)

    def pad(self, packed: Tensor) -> Tensor:
        """(tokens, heads, size) → (n, heads, longest, size), zeros at pads."""
        if self.slots is not None:
            empty = packed.new_zeros(self.count * self.longest, *packed.shape[1:])
            packed = empty.index_copy(0, self.slots, packed)
        return packed.unflatten(0, (self.count, self.longest)).transpose(1, 2)

    def unpad(self, padded: Tensor) -> Tensor:
        """(n, heads, longest, size) → (tokens, heads, size)."""
        flat = padded.transpose(1, 2).flatten(0, 1)
        return flat if self.slots is None else flat.index_select(0, self.slots)


class Tree(Attention):
    """What one forward pass of the backbone holds.

    Args:
        groups: every sequence, in packed order.
        states: by layer, keys and values of the prefixes; written by the "domain" and "sample" groups, read by what
            continues them. A pass of texts alone is given those of the pass that encoded the prefixes.
    """

    def __init__(self, groups: list[Group], states: dict[int, States] | None = None) -> None:
        super().__init__()
        self.groups = groups
        self.states: dict[int, States] = {} if states is None else states

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        """(1, heads, T, size) of the packed row, each sequence attending to its prefix and itself."""
        states = self.states.setdefault(layer, {})
        sizes = [group.tokens for group in self.groups]
        packed = (part[0].transpose(0, 1).split(sizes) for part in (query, key, value))
        outputs = []
        for group, *parts in zip(self.groups, *packed, strict=True):
            if not group.tokens:
                continue
            queries, keys, values = (group.pad(part) for part in parts)
            before = [] if group.role == "domain" else [states["domain"]]
            if group.prompts is not None:
                before.append((states["sample"][0][group.prompts], states["sample"][1][group.prompts]))
            if group.role != "text":
                states[group.role] = keys, values
            seen, content = (
                torch.cat([*(state[i].expand(group.count, -1, -1, -1) for state in before), own], dim=2)
                for i, own in enumerate((keys, values))
            )
            outputs.append(group.unpad(causal_attention(queries, seen, content, scale, view)))
        return torch.cat(outputs).transpose(0, 1)[None]
