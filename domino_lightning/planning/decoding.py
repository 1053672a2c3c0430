"""What generating texts costs: tokens, FLOPs, what is read, slots with their keys and values, launches of a step."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from domino_lightning.models.attention import (
    Attention,
    UnsupportedAttention,
    View,
    causal_attention,
    replaced_attention,
)
from domino_lightning.models.backbone import causal_config
from domino_lightning.planning.cost import Cost, Growth
from domino_lightning.planning.flops import ModelShape, Sequences, fed_tokens, flops
from domino_lightning.planning.step_memory import META, at_depth, shapes_of
from domino_lightning.planning.weights import BYTES, computed_dtype, model_bytes, resolved

DECODING_SHARE = 0.45  # of the rate of matrix products, as measured on two CPU cores (docs/performance.md)
SLOTS = 96  # rows at a time, for engines that do not say


def decoding(
    what: str,
    shape: ModelShape,
    engine: Any,
    rows: float,
    shared: float,
    asked: float,
    new: float,
    limit: int,
    gpu: bool = False,
    key: str = "",
    spec: str | None = None,
) -> Cost:
    """Generating `new` tokens a row, and room for `limit`, behind `shared` tokens encoded once and `asked` own ones.

    Args:
        what: in words.
        shape: of the model.
        engine: what decodes; its `batch_size` and `dtype` count.
        rows: texts.
        shared: tokens before every row, encoded once.
        asked: tokens of a row's own prompt.
        new: tokens generated a row.
        limit: tokens that a row has room for.
        gpu: plan for a GPU, whatever this machine has.
        key: of the document that sets the engine's rows at a time; empty: none does.
        spec: the backbone, for the launches of a step.
    """
    wanted = getattr(engine, "batch_size", SLOTS)
    slots = int(min(SLOTS if wanted == "auto" else wanted, max(1, rows)))
    dtype = resolved(getattr(engine, "dtype", "auto"), gpu)
    weights, states = model_bytes(shape, dtype), shape.cached * BYTES[computed_dtype(dtype)]
    passes = [Sequences(1, shared), Sequences(rows, asked, shared), Sequences(rows, new, shared + asked, new)]

    def memory(slots: int) -> float:
        return weights + states * (shared + slots * (asked + limit)) + 8 * slots * shape.vocabulary

    turns = rows / slots * new
    return Cost(
        what,
        tokens=fed_tokens(passes),
        flops=flops(shape, passes),
        share=DECODING_SHARE,
        read=turns * (weights + states * (shared + slots * (asked + new / 2))),
        memory=memory(slots),
        dtype=computed_dtype(dtype),
        launches=0 if spec is None else launches(spec),
        growth=Growth(key, slots, 1, memory) if key else None,
    )


class _Kernels(TorchDispatchMode):
    """Counts operations that are not views: about the kernels that a GPU is asked to run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and any(isinstance(part, Tensor) for part in tree_leaves((args, kwargs)))
        return func(*args, **(kwargs or {}))


class _OneMore(Attention):
    """A token behind those that are there: keys and values are written beside theirs, and attended to."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        place = torch.zeros(1, dtype=torch.long, device=META)
        key, value = (
            torch.empty(1, part.shape[1], 2, part.shape[3], dtype=part.dtype, device=META).index_copy_(2, place, part)
            for part in (key, value)
        )
        return causal_attention(query, key, value, scale, view)


@cache
def launches(spec: str) -> int:
    """About how many kernels a step of decoding launches, without what draws the tokens; 0: it cannot be told."""
    config = causal_config(spec)

    def count(depth: int) -> int:
        model = shapes_of(at_depth(config, depth), "bfloat16")
        token = torch.zeros(1, 1, dtype=torch.long, device=META)
        with torch.no_grad(), _Kernels() as kernels, replaced_attention(model):
            embeds = model.get_input_embeddings()(token)
            model.get_output_embeddings()(_OneMore().forward(model.base_model, embeds, token).last_hidden_state)
        return kernels.count

    try:
        one, two = count(1), count(2)
    except (RuntimeError, UnsupportedAttention):  # it looks at what tensors hold, or does more than attend
        return 0
    return one + (two - one) * (config.get_text_config().num_hidden_layers - 1)
