"""NLL of texts under soft prompts: `[BOS] prompt text EOS`, the text's tokens and its EOS scored, pads never."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_BYTES = 256 << 20


class TextBatch(NamedTuple):
    """Right-padded texts.

    Attributes:
        ids: (B, L) token ids, EOS included where the text was not truncated.
        lengths: (B,) tokens of each text.
        samples: (B,) index of the sample, which names its row of sample tokens.
        valid: (B,) bool; False on rows that only pad a ragged rank.
    """

    ids: Tensor
    lengths: Tensor
    samples: Tensor
    valid: Tensor

    def token_mask(self) -> Tensor:
        """(B, L) bool: which positions hold a token of the text, by length and never by id."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]


def prompted_nll(
    backbone: PreTrainedModel, prompts: Tensor, batch: TextBatch, bos: list[int], logits_bytes: int = LOGITS_BYTES
) -> Tensor:
    """Mean NLL of each text given its prompt, in nats per scored token.

    Every (prompt, text) pair is encoded whole. The first token of a text is predicted from the last position of
    its prompt, and the LM head sees only positions that are scored.

    Args:
        backbone: the frozen causal LM.
        prompts: (B, P, H) soft tokens before each text.
        batch: B texts.
        bos: ids to put before the prompt.
        logits_bytes: peak size of one chunk of float32 logits.

    Returns:
        (B,) float32.
    """
    embed = backbone.get_input_embeddings()
    mask = batch.token_mask()
    # Pads are fed as token 0: any id of the vocabulary serves, since nothing attends to them.
    texts = embed(batch.ids.masked_fill(~mask, 0))
    parts = [prompts.to(texts.dtype), texts]
    if bos:
        start = embed(torch.tensor(bos, device=batch.ids.device)).expand(len(texts), -1, -1)
        parts.insert(0, start)
    inputs = torch.cat(parts, dim=1)
    before = inputs.shape[1] - texts.shape[1]
    attention = F.pad(mask, (before, 0), value=True).long()
    hidden = backbone.base_model(inputs_embeds=inputs, attention_mask=attention, use_cache=False).last_hidden_state
    predicting = hidden[:, before - 1 : -1]  # (B, L, H): position t predicts text token t
    token_nll = chunked_nll(backbone, predicting[mask], batch.ids[mask], logits_bytes)
    rows = torch.arange(len(texts), device=mask.device).repeat_interleave(batch.lengths)
    sums = torch.zeros(len(texts), dtype=torch.float32, device=mask.device).index_add(0, rows, token_nll)
    return sums / batch.lengths.clamp(min=1)


def chunked_nll(backbone: PreTrainedModel, hidden: Tensor, targets: Tensor, logits_bytes: int = LOGITS_BYTES) -> Tensor:
    """(T,) float32 NLL of T target ids from (T, H) hidden states, with at most `logits_bytes` of logits alive.

    With more than one chunk the head's activations are recomputed in the backward pass.
    """
    head = backbone.get_output_embeddings()
    if head is None:
        raise TypeError(f"{type(backbone).__name__} has no LM head")
    rows = max(1, logits_bytes // (4 * int(head.weight.shape[0])))
    config = backbone.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    if len(hidden) <= rows:
        return _head_nll(head, scale, cap, hidden, targets)
    pieces = [
        checkpoint(_head_nll, head, scale, cap, hidden[i : i + rows], targets[i : i + rows], use_reentrant=False)
        for i in range(0, len(hidden), rows)
    ]
    return torch.cat(pieces)


def _head_nll(head: nn.Module, scale: float, cap: float | None, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = head(hidden).float()
    # Cohere and Granite scale their logits, and Gemma caps them, inside a forward that is bypassed here.
    if scale != 1:
        logits = logits * scale
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return F.cross_entropy(logits, targets, reduction="none")
