"""FLOPs and bytes of a causal LM, derived from its shapes alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Sequences(NamedTuple):
    """`number` sequences of `fed` tokens, each behind `before` tokens encoded elsewhere, with logits at `scored`."""

    number: float
    fed: float
    before: float = 0
    scored: float = 0


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a causal LM.

    Attributes:
        parameters: all weights, tied ones once.
        linear: weights that a token is multiplied with, without embeddings and LM head. (All experts of a mixture
            count, which is too many.)
        head: weights of the LM head, vocabulary × hidden size.
        attended: FLOPs of one (query, key) pair in all layers: scores, and their product with the values.
        cached: numbers that keys and values of a token take, in all layers.
        kept: numbers that a token leaves for the backward pass, in all layers: about what is measured.
        hidden: H.
        vocabulary: V.
    """

    parameters: int
    linear: int
    head: int
    attended: int
    cached: int
    kept: int
    hidden: int
    vocabulary: int

    @classmethod
    def of(cls, backbone: Any) -> ModelShape:
        """The sizes of a transformers model, which may lie on the meta device."""
        from torch import nn

        config = backbone.config.get_text_config()
        looked_up = {id(part.weight) for part in backbone.base_model.modules() if isinstance(part, nn.Embedding)}
        weights = [p for p in backbone.base_model.parameters() if p.dim() > 1 and id(p) not in looked_up]
        head = backbone.get_output_embeddings().weight
        layers, heads, hidden = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
        size = getattr(config, "head_dim", None) or hidden // heads
        states = 2 * (getattr(config, "num_key_value_heads", None) or heads) * size
        inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
        return cls(
            parameters=sum(p.numel() for p in backbone.parameters()),
            linear=sum(p.numel() for p in weights),
            head=head.numel(),
            attended=4 * heads * size * layers,
            cached=states * layers,
            kept=layers * (6 * hidden + states + 3 * inner),
            hidden=hidden,
            vocabulary=len(head),
        )


def model_shape(spec: str) -> ModelShape:
    """The sizes of a backbone, read from its configuration; no weights are loaded.

    Raises:
        UserError: the spec names nothing that can be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from domino_lightning.models.backbone import causal_config

    config = causal_config(spec)
    with torch.device("meta"):
        return ModelShape.of(AutoModelForCausalLM.from_config(config))


def flops(shape: ModelShape, passes: Iterable[Sequences], backward: int = 0) -> float:
    """FLOPs of encoding the sequences, two for a multiply and an add.

    A token costs 2 · `linear`, a position with logits 2 · `head`. A sequence of n tokens behind c attends
    n·c + n·(n + 1)/2 pairs. Left out: norms, softmax, activation functions, look-ups, the optimizer.

    Args:
        shape: of the model.
        passes: what is encoded.
        backward: 0 forward alone; 1 gradients of activations too (frozen weights); 2 of all weights as well.
    """
    total = 0.0
    for part in passes:
        pairs = part.fed * part.before + part.fed * (part.fed + 1) / 2
        products = shape.linear * part.fed + shape.head * part.scored
        attention = shape.attended * pairs * (3 if backward else 1)
        total += part.number * (2 * (1 + backward) * products + attention)
    return total


def fed_tokens(passes: Iterable[Sequences]) -> float:
    """Tokens that a model is fed."""
    return sum(part.number * part.fed for part in passes)


def shared_sequences(B: float, D: float, S: float, L: float, K: float) -> list[Sequences]:
    """A training step of D and S: D once, each S once, and continuations with logits at their L tokens.

    Args:
        B: texts.
        D: domain tokens, BOS included.
        S: sample tokens.
        L: tokens of a text.
        K: prompts that each text is scored under besides D alone; 0 is plain prompt tuning.
    """
    plain = [Sequences(1, D), Sequences(B, L, D, L)]
    return plain if K == 0 else [*plain, Sequences(B, S, D), Sequences(B * K, L, D + S, L)]
