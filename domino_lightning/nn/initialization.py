"""Where soft tokens start: rows of the vocabulary, matched noise, a text, another soft prompt."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.models.soft_prompt import read_soft_tokens
from domino_lightning.nn.starts import Init
from domino_lightning.store.contents import soft_prompt_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


class Moments(NamedTuple):
    """What vectors drawn like the rows of a vocabulary match: (H,) mean and standard deviation, and the mean norm."""

    mean: Tensor
    std: Tensor
    norm: Tensor

    @classmethod
    def of(cls, vocabulary: Tensor) -> Moments:
        """Those of (V, H) rows in float32 on the CPU."""
        return cls(vocabulary.mean(dim=0), vocabulary.std(dim=0), vocabulary.norm(dim=1).mean())

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, H) vectors of the mean norm."""
        drawn = self.mean + torch.randn(count, len(self.mean), generator=generator) * self.std
        return drawn * (self.norm / drawn.norm(dim=1, keepdim=True))


def draw_tokens(vocabulary: Tensor, count: int, init: Init, generator: torch.Generator) -> Tensor:
    """(count, H) vectors drawn from, or like, the rows of the (V, H) embedding matrix.

    `vocabulary` copies distinct random rows. `normal` draws vectors with the rows' mean and standard deviation
    per dimension and scales each to the rows' mean norm: a longer vector is one that the layers never saw.

    Raises:
        ValueError: more distinct rows are asked for than the vocabulary has, or an unknown init.
    """
    vocabulary = vocabulary.detach().float().cpu()
    if init == "normal":
        return Moments.of(vocabulary).draw(count, generator)
    if init != "vocabulary":
        raise ValueError(f"init must be 'vocabulary' or 'normal', not '{init}'")
    if count > len(vocabulary):
        raise ValueError(f"num_tokens {count} is more than the vocabulary's {len(vocabulary)} rows")
    return vocabulary[torch.randperm(len(vocabulary), generator=generator)[:count]].clone()


def text_tokens(vocabulary: Tensor, count: int, text: str, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """(count, H) embeddings of a text's tokens, cut or repeated to `count` with a notice.

    Raises:
        UserError: the text has no tokens.
    """
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    if not ids:
        raise UserError("tune.model.domain_prompt: init 'text' needs a text in init_from, and was given an empty one.")
    return fit_count(vocabulary.detach().float().cpu()[torch.tensor(ids)], count, "the text of init_from")


def soft_prompt_tokens(path: str | Path, count: int, hidden_size: int) -> Tensor:
    """(count, H) tokens of a soft prompt: a directory or file that `tune` or PEFT wrote.

    Raises:
        UserError: nothing there that holds soft tokens, or tokens of another width.
    """
    file = soft_prompt_file(path)
    tokens = read_soft_tokens(file)
    if tokens.shape[1] != hidden_size:
        raise UserError(
            f"{file}: its tokens have {tokens.shape[1]} dimensions, and the backbone's have {hidden_size}. "
            "Start from a soft prompt of the same backbone."
        )
    return fit_count(tokens, count, str(file))


def fit_count(tokens: Tensor, count: int, origin: str) -> Tensor:
    """The first `count` rows, or all rows over and over up to `count`."""
    if len(tokens) != count:
        done = "cut" if len(tokens) > count else "repeated"
        log.warning("Initializing %d domain tokens from %s, which has %d: %s.", count, origin, len(tokens), done)
    return tokens[torch.arange(count) % len(tokens)].clone()


def keyword_ids(texts: Sequence[Sequence[int]], samples: Sequence[int], count: int) -> list[list[int]]:
    """For every sample the `count` tokens that are most its own: those of highest tf-idf, in order of appearance.

    tf is how often the token stands in the sample's texts, idf = log(N / number of samples that have it) over the N
    samples (Spärck Jones 1972). Of equal scores the earlier token counts; a sample with fewer distinct tokens than
    `count` has them over and over.

    Args:
        texts: token ids.
        samples: the sample of each text, 0 … N − 1, all of them present.
        count: tokens a sample.
    """
    counts = [Counter[int]() for _ in range(max(samples) + 1)]  # a Counter keeps the order of first appearance
    for ids, sample in zip(texts, samples, strict=True):
        counts[sample].update(ids)
    having = Counter(token for each in counts for token in each)
    chosen = []
    for each in counts:
        score = {token: times * math.log(len(counts) / having[token]) for token, times in each.items()}
        best = set(sorted(score, key=lambda token: -score[token])[:count])
        tokens = [token for token in each if token in best]
        chosen.append([tokens[position % len(tokens)] for position in range(count)])
    return chosen
