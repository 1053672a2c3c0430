"""How likely a coder finds the answers of held-out references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from domino_lightning.data.chat import encode_pair
from domino_lightning.data.padded import collate_pairs
from domino_lightning.nn.answer_nll import answer_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.inference_mode()
def answer_perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Sequence[Mapping[str, str]]],
    batch_size: int = 4,
) -> dict[str, float]:
    """Perplexity of the assistant's answers in chats, its end marker included, and what it was taken over.

    It equals torchmetrics' `text.Perplexity`, which wants the logits of all positions at once, in (B, T, V), and takes
    the logarithm of a softmax, where a token of probability 1e-46 or less makes it infinite.

    Args:
        model: a causal LM in eval mode.
        tokenizer: its tokenizer.
        pairs: chats that end with the assistant's answer.
        batch_size: chats of a forward pass.

    Returns:
        "perplexity", "nll" (nats per token), "tokens" and "answers".
    """
    encoded = [encode_pair(messages, tokenizer) for messages in pairs]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index][0]))  # little padding
    total, tokens = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = collate_pairs([encoded[index] for index in order[start : start + batch_size]])
        nll = answer_nll(model, batch.to(model.device))
        total += float(nll.double().sum())
        tokens += len(nll)
    nll_per_token = torch.tensor(total / tokens if tokens else torch.nan, dtype=torch.float64)
    return {
        "perplexity": float(nll_per_token.exp()),
        "nll": float(nll_per_token),
        "tokens": tokens,
        "answers": len(encoded),
    }
