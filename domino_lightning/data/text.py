"""Texts as token ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
TooLong = Literal["error", "truncate"]


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
