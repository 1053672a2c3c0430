"""Texts as token ids, one by one and in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
TooLong = Literal["error", "truncate"]
Encoded = tuple[list[int], int]  # token ids, sample index


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


def encode_texts(
    rows: Sequence[Record], tokenizer: PreTrainedTokenizerBase, max_length: int, too_long: TooLong, where: str
) -> list[list[int]]:
    """Token ids of each row's `text`, ended by EOS; a text cut at `max_length` gets no EOS.

    Raises:
        UserError: a text longer than `max_length` under "error", named by id.
    """
    encoded, cut = [], 0
    for row in rows:
        ids = [*tokenizer(row["text"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        if too_long == "error":
            refuse_long(row, len(ids), max_length, where)
        cut += len(ids) > max_length
        encoded.append(ids[:max_length])
    warn_of_cut(cut, len(rows), max_length, where)
    return encoded


def warn_of_cut(cut: int, texts: int, max_length: int, where: str) -> None:
    """Say how many texts `too_long: truncate` cuts, if any."""
    if cut:
        log.warning(
            "%s: %d of %d texts are longer than tune.data.max_length (%d) and are cut there: how they end, and that "
            "they do, is not learned.",
            where,
            cut,
            texts,
            max_length,
        )


def refuse_long(row: Record, tokens: int, max_length: int, where: str) -> None:
    """Refuse a text of more tokens than there may be.

    Raises:
        UserError: it names the row.
    """
    if tokens > max_length:
        raise UserError(
            f"{where}: row '{row['id']}' has {tokens} tokens with its EOS, more than tune.data.max_length "
            f"{max_length}. Raise tune.data.max_length, set tune.data.too_long=truncate, or leave the row out."
        )


def collate_texts(items: list[Encoded | None]) -> TextBatch:
    """Right-pad a batch; None becomes a row of one token that is not valid."""
    filled = [item or ([0], 0) for item in items]
    return TextBatch(
        ids=pad_sequence([torch.tensor(ids) for ids, _ in filled], batch_first=True),
        lengths=torch.tensor([len(ids) for ids, _ in filled]),
        samples=torch.tensor([sample for _, sample in filled]),
        valid=torch.tensor([item is not None for item in items]),
    )
