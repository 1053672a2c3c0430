"""NLL of texts under soft prompts: `[BOS] prompt text EOS`, the text's tokens and its EOS scored, pads never."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from domino_lightning.data.padded import TextBatch
from domino_lightning.losses.pairs import PairIndex

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_BYTES = 256 << 20


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
        (B,) float32, or float64 if the backbone is.
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
    return mean_per_text(token_nll, batch.lengths)


def naive_nll(
    backbone: PreTrainedModel,
    domain: Tensor,
    batch: TextBatch,
    bos: list[int],
    samples: Tensor | None = None,
    pairs: PairIndex | None = None,
    logits_bytes: int = LOGITS_BYTES,
) -> tuple[Tensor, Tensor | None]:
    """What `shared_prefix_nll` returns, from every (prompt, text) pair encoded whole: slow, and obviously right."""
    size = len(batch.ids)
    under_domain = prompted_nll(backbone, domain.expand(size, -1, -1), batch, bos, logits_bytes)
    under_domain = under_domain.masked_fill(~batch.valid, 0.0)
    if samples is None or pairs is None:
        return under_domain, None
    rows, per_text = pairs.prompt_row.flatten(), pairs.prompt_row.shape[1]
    prompts = torch.cat([domain.expand(len(rows), -1, -1), samples.to(domain.dtype)[rows]], dim=1)
    repeated = TextBatch(*(part.repeat_interleave(per_text, dim=0) for part in batch))
    paired = prompted_nll(backbone, prompts, repeated, bos, logits_bytes).unflatten(0, (size, per_text))
    return under_domain, paired.masked_fill(~pairs.valid, 0.0)


def mean_per_text(token_nll: Tensor, lengths: Tensor) -> Tensor:
    """(n,) means from the NLL of every scored token of n texts, one text after another."""
    rows = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths, output_size=len(token_nll))
    return token_nll.new_zeros(len(lengths)).index_add(0, rows, token_nll) / lengths.clamp(min=1)


def chunked_nll(backbone: PreTrainedModel, hidden: Tensor, targets: Tensor, logits_bytes: int = LOGITS_BYTES) -> Tensor:
    """(T,) NLL of T target ids from (T, H) hidden states, with at most `logits_bytes` of logits alive.

    Float32, or float64 if the head is. With a frozen head the gradient to `hidden` is computed along with the value,
    so no logits are kept or computed again; a head that trains recomputes them in the backward pass.
    """
    head = backbone.get_output_embeddings()
    if head is None:
        raise TypeError(f"{type(backbone).__name__} has no LM head")
    config = backbone.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    def logits(part: Tensor) -> Tensor:
        """Cohere and Granite scale their logits, and Gemma caps them, inside a forward that is bypassed here."""
        scores: Tensor = head(part)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if scale != 1:
            scores = scores * scale
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def recomputed(part: Tensor, ids: Tensor) -> Tensor:
        return F.cross_entropy(logits(part), ids, reduction="none")

    rows = max(1, logits_bytes // (4 * int(head.weight.shape[0])))
    chunks = list(zip(hidden.split(rows), targets.split(rows), strict=True))
    trains = any(parameter.requires_grad for parameter in head.parameters())
    if not trains:
        return torch.cat([_FrozenHeadNLL.apply(part, ids, logits) for part, ids in chunks])
    if len(chunks) == 1:
        return recomputed(hidden, targets)
    return torch.cat([checkpoint(recomputed, part, ids, use_reentrant=False) for part, ids in chunks])


class _FrozenHeadNLL(torch.autograd.Function):
    """Cross-entropy of one chunk of logits; the gradient of each row is scaled in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        leaf = hidden.detach()
        wanted = ctx.needs_input_grad[0]
        with torch.set_grad_enabled(wanted):
            scores = logits(leaf.requires_grad_(wanted))
        # In place from here on: a chunk of logits is the largest tensor there is.
        values = scores.detach()
        top = values.amax(dim=1, keepdim=True)
        picked = values.gather(1, targets[:, None]) - top
        total = values.sub_(top).exp_().sum(dim=1, keepdim=True)
        if wanted:
            # The gradient to the logits is softmax minus one-hot: exp(...) / total, less 1 at the target.
            values.scatter_add_(1, targets[:, None], -total)
            (gradient,) = torch.autograd.grad(scores, leaf, values)
            ctx.save_for_backward(gradient / total)
        return (total.log() - picked).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad[:, None]).to(gradient.dtype), None, None
