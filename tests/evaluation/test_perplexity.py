from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.text import Perplexity

from domino_lightning.data.chat import encode_pair
from domino_lightning.evaluation.perplexity import answer_perplexity
from domino_lightning.testing import byte_tokenizer, tiny_model

PAIRS = [
    [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}],
    [{"role": "user", "content": "How long is this question, then?"}, {"role": "assistant", "content": "Long enough"}],
    [{"role": "user", "content": "And?"}, {"role": "assistant", "content": ""}],
]


def test_it_equals_the_perplexity_of_torchmetrics_on_whole_logits() -> None:
    tokenizer, model = byte_tokenizer(), tiny_model()
    expected = Perplexity(ignore_index=-100)
    tokens = 0
    for messages in PAIRS:
        ids, start = encode_pair(messages, tokenizer)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[:, :-1]
        target = torch.tensor([[-100] * (start - 1) + ids[start:]])
        tokens += len(ids) - start
        expected.update(logits, target)
    for batch_size in (1, 2, 8):
        found = answer_perplexity(model, tokenizer, PAIRS, batch_size)
        assert found["perplexity"] == pytest.approx(expected.compute().item(), rel=1e-5)
        assert found["nll"] == pytest.approx(math.log(found["perplexity"]))
        assert (found["tokens"], found["answers"]) == (tokens, 3)


def test_it_stays_finite_where_a_softmax_underflows() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(3000)
    found = answer_perplexity(model, byte_tokenizer(), PAIRS)
    assert found["nll"] > 104  # beyond the least float32 probability
    assert math.isfinite(found["nll"])
