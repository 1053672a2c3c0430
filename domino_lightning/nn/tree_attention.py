"""Attention over a packed tree of sequences: any transformers model encodes a shared prefix once.

One forward pass of the backbone gets one row of tokens, in which groups of sequences follow each other: the domain
tokens, sample tokens that continue them, texts that continue either. Every layer but attention works token by token
and never sees the tree. Attention is replaced, through transformers' attention interface, by one that gives each
sequence the keys and values of its prefix. Nothing is padded outside attention, there is no cache object to copy,
and gradients reach the prefix as they reach any other token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "domino_tree"
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


@dataclass
class Tree:
    """What one forward pass of the backbone holds.

    Attributes:
        groups: every sequence, in packed order.
        states: by layer, keys and values of the prefixes; written by the "domain" and "sample" groups, read by what
            continues them. A pass of texts alone is given those of the pass that encoded the prefixes.
        masks: what `visible` made.
    """

    groups: list[Group]
    states: dict[int, States] = field(default_factory=dict)
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)

    def visible(self, queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
        """(queries, keys) bool: the last query sees the last key, no query a later one or one beyond the window."""
        if (queries, keys, window) not in self.masks:  # layers share them
            place = torch.arange(keys - queries, keys, device=device)[:, None]
            other = torch.arange(keys, device=device)
            mask = other <= place
            self.masks[queries, keys, window] = mask if window is None else mask & (other > place - window)
        return self.masks[queries, keys, window]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    tree: Tree | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers' interface: (1, heads, T, size) of a packed row → (1, T, heads, size).

    Raises:
        NotImplementedError: the model asks for what this attention does not do, or loses `tree` on the way to it.
    """
    asked = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if tree is None or dropout or asked:
        raise NotImplementedError(f"attention over shared prefixes with {asked or 'dropout, or without its tree'}")
    states = tree.states.setdefault(module.layer_idx, {})
    sizes = [group.tokens for group in tree.groups]
    packed = (part[0].transpose(0, 1).split(sizes) for part in (query, key, value))
    outputs = []
    for group, *parts in zip(tree.groups, *packed, strict=True):
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
        if queries.device.type != "cpu":  # elsewhere grouped heads under a mask fall back to the slowest kernel
            repeats = queries.shape[1] // keys.shape[1]
            seen, content = (part.repeat_interleave(repeats, dim=1) for part in (seen, content))
        window = None if sliding_window is None or sliding_window >= seen.shape[2] else sliding_window
        whole = not before and window is None
        output = F.scaled_dot_product_attention(
            queries,
            seen,
            content,
            attn_mask=None if whole else tree.visible(group.longest, seen.shape[2], window, queries.device),
            is_causal=whole,
            scale=scaling,
            enable_gqa=seen.shape[1] != queries.shape[1],
        )
        outputs.append(group.unpad(output))
    return torch.cat(outputs)[None], None


@contextmanager
def tree_attention(backbone: PreTrainedModel) -> Iterator[None]:
    """Let the backbone attend over a tree within the block."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    configs: dict[int, Any] = {id(part.config): part.config for part in backbone.modules() if hasattr(part, "config")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in before:
            config._attn_implementation = name
