"""Attention of one's own in any transformers model: what training over shared prefixes and decoding in slots rest on.

transformers lets a program register the function that every layer calls as its attention, and the function that
makes their masks. Both are taken over here. The first hands the keys and values of new tokens, positions applied, to
an `Attention`, which knows what stands before them. The second makes no mask: it keeps what the model's own code says
about who sees whom, so that windows, chunks and whatever comes next are the model's word, never ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "domino"
KINDS = {"full_attention", "sliding_attention", "chunked_attention"}  # of layers, as transformers names them
# Arguments of a layer that change nothing here: the view holds every mask, and positions are applied already.
IGNORED = {"sliding_window", "is_causal", "position_ids", "output_attentions", "use_cache"}


class UnsupportedAttention(UserError):
    """A model whose layers do more than attend to keys and values."""

    def __init__(self, model_type: str, what: str) -> None:
        super().__init__(
            f"models of type '{model_type}': {what}, which is not handled where keys and values are shared. "
            "To sample from such a model use domino_lightning.synthesis.VLLMEngine."
        )


class View:
    """Which earlier tokens a token sees in some layers of a model, during one forward pass.

    Args:
        sees: the rule of transformers' masks: (row, head, position of the query, position of the key) → bool.
        reach: how many tokens a token sees at most, itself among them; None: all before it.
    """

    def __init__(self, sees: Callable[..., Any], reach: int | None) -> None:
        self.sees, self.reach = sees, reach
        self._masks: dict[tuple[int, int], Tensor] = {}

    def between(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The bool tensor that two tensors of positions broadcast to."""
        seen: Tensor = self.sees(0, 0, queries, keys)
        return seen

    def sees_all(self, keys: int) -> bool:
        """Whether every one of so many tokens sees all that are not later."""
        return self.reach is None or self.reach >= keys

    def mask(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """(queries, keys) bool, the last query at the position of the last key; None: all that is not later."""
        if queries == keys and self.sees_all(keys):
            return None
        if (queries, keys) not in self._masks:  # layers share them
            place = torch.arange(keys, device=device)
            self._masks[queries, keys] = self.between(place[keys - queries :, None], place)
        return self._masks[queries, keys]


class Attention(ABC):
    """What stands in for the attention of every layer during forward passes."""

    def __init__(self) -> None:
        self.layers: list[int] = []  # that came by in this pass

    @abstractmethod
    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        """(B, Hq, L, d) queries, (B, Hkv, L, d) keys and (B, Hkv, L, e) values → (B, Hq, L, e)."""

    def forward(self, model: torch.nn.Module, embeds: Tensor, positions: Tensor, **options: Any) -> Any:
        """The model's output for (B, L, H) embeddings at (B, L) positions, within `replaced_attention`.

        Args:
            model: a causal LM, or the part of it below its head.
            embeds: of the new tokens.
            positions: of the new tokens, which may be anything.
            options: further arguments of the model.

        Raises:
            UnsupportedAttention: the model does something else than attending, or its attention does more.
        """
        self.layers = []
        # With a mask that hides nothing, transformers does not look for packed texts in the positions.
        everything = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        config: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]
        fault = None
        try:
            output = model(
                inputs_embeds=embeds,
                position_ids=positions,
                attention_mask=everything,
                use_cache=False,
                domino=self,
                **options,
            )
        except (TypeError, AttributeError) as error:  # a model that reckons with the mask itself finds none
            fault = error
        others = config.num_hidden_layers - sum(count == 1 for count in Counter(self.layers).values())
        if fault is not None or others:
            told = f"{others} of {config.num_hidden_layers} layers mix tokens in a way of their own"
            raise UnsupportedAttention(config.model_type, f"{told} ({fault})" if fault else told) from fault
        return output


@contextmanager
def replaced_attention(model: PreTrainedModel) -> Iterator[None]:
    """Have the model's layers call the `Attention` whose `forward` runs them.

    Raises:
        UnsupportedAttention: the model says that it keeps other state than keys and values.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    config = model.config.get_text_config()
    if getattr(model, "_is_stateful", False) or not KINDS.issuperset(getattr(config, "layer_types", None) or ()):
        raise UnsupportedAttention(config.model_type, "they keep more than keys and values")
    AttentionInterface.register(NAME, _uncompiled())
    AttentionMaskInterface.register(NAME, _view)
    configs: dict[int, Any] = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in before:
            config._attn_implementation = name


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
    """(B, Hq, L, e): attention of the last L of P + L tokens to what they see of themselves and of those before them.

    On a GPU in half precision, and where no window hides anything, it is the flash kernel, which aligns the triangle
    at its lower right corner and takes grouped heads as they are: no mask and no repeated heads are made.

    Args:
        query: (B, Hq, L, d).
        key: (B, Hkv, P + L, d).
        value: (B, Hkv, P + L, e).
        scale: factor of the products.
        view: who sees whom.
    """
    queries, keys = query.shape[2], key.shape[2]
    grouped = key.shape[1] != query.shape[1]
    if query.device.type == "meta":
        return _shapes_alone(query, key, value)
    if query.device.type == "cuda" and torch.is_autocast_enabled("cuda"):  # a mask that is an object passes it by
        query, key, value = (part.to(torch.get_autocast_dtype("cuda")) for part in (query, key, value))
    if view.sees_all(keys) and _takes_flash(query, key, value, grouped):
        from torch.nn.attention.bias import causal_lower_right  # which brings torch._dynamo, seconds of import

        corner: Tensor = causal_lower_right(queries, keys)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=corner, scale=scale, enable_gqa=grouped)
    if grouped and query.device.type != "cpu":  # elsewhere they fall back to the slowest kernel under a mask
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        grouped = False
    mask = view.mask(queries, keys, query.device)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _takes_flash(query: Tensor, key: Tensor, value: Tensor, grouped: bool) -> bool:
    """Whether the flash kernel takes these tensors. Where it does not, torch would make the mask, in every layer."""
    if query.dtype not in (torch.float16, torch.bfloat16):
        return False
    if query.device.type != "cuda":
        return False
    wanted = torch.backends.cuda.SDPAParams(query, key, value, None, 0.0, False, grouped)
    return torch.backends.cuda.can_use_flash_attention(wanted)


def _shapes_alone(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What a fused kernel makes and saves, for `domino plan`: torch's choice among them is made for real devices."""
    if query.dtype == torch.float32:
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    mixed: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True)[0]
    return mixed


class _Windows(Attention):
    """Listens to what the layers see of one token."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        if view.reach is not None:
            self.found.add(view.reach)
        return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)


@torch.inference_mode()
def windows(model: PreTrainedModel) -> set[int]:
    """The lengths of the sliding windows and chunks of a model's layers, as its own code tells them.

    Raises:
        UnsupportedAttention: as `Attention.forward`.
    """
    listening = _Windows()
    place = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    with replaced_attention(model):
        listening.forward(model.base_model, model.get_input_embeddings()(place), place)
    return listening.found


@cache
def _uncompiled() -> Callable[..., tuple[Tensor, None]]:
    """`_attention`, at which the graph of a compiled layer ends: what keys and values it shares is Python's to know."""
    function: Callable[..., tuple[Tensor, None]] = torch.compiler.disable(_attention)
    return function


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: View,
    scaling: float | None = None,
    dropout: float = 0.0,
    domino: Attention | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer; (B, L, Hq, e)."""
    if domino is None:
        raise UnsupportedAttention(module.config.model_type, "they do not hand arguments on to their layers")
    asked = {name for name, value in options.items() if value is not None and value is not False}
    extra = list(asked - IGNORED)
    extra += ["dropout"] * bool(dropout) + ["a mask of its own"] * (not isinstance(attention_mask, View))
    if extra:
        raise UnsupportedAttention(module.config.model_type, f"their attention uses {', '.join(sorted(extra))}")
    domino.layers.append(module.layer_idx)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed = domino(module.layer_idx, query, key, value, scale, attention_mask)
    return mixed.transpose(1, 2).contiguous(), None


def _view(
    mask_function: Callable[..., Any], config: Any, local_size: int | None = None, use_vmap: bool = False, **_: Any
) -> View:
    """The function that transformers calls in place of making a mask."""
    if use_vmap or mask_function(0, 0, torch.tensor(0), torch.tensor(1)):
        raise UnsupportedAttention(config.model_type, "their tokens see later ones, or masks of a kind of their own")
    return View(mask_function, local_size)
