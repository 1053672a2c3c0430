"""Likelihood of the assistant's answers in chats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from domino_lightning.data.padded import ChatBatch
from domino_lightning.nn.prompted import chunked_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def answer_nll(model: PreTrainedModel, batch: ChatBatch) -> Tensor:
    """(T,) NLL of the T assistant tokens of a batch under a causal LM, in nats."""
    backbone: Any = model.base_model
    hidden = backbone(input_ids=batch.ids, attention_mask=batch.token_mask().long(), use_cache=False).last_hidden_state
    scored = batch.answer_mask()
    # The hidden state before a token predicts it.
    before = F.pad(scored[:, 1:], (0, 1))
    return chunked_nll(model, hidden[before], batch.ids[scored])
