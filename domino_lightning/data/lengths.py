"""Tokens of texts and chat pairs, for who needs no more than their number."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from domino_lightning.data.chat import encode_pair
from domino_lightning.data.text import TooLong, encode_texts, refuse_long, warn_of_cut
from domino_lightning.domains.rows import Message
from domino_lightning.models.backbone import bos_ids
from domino_lightning.models.lookups import kept_counts, read_tokenizer
from domino_lightning.utils.jsonl import Record


def text_lengths(rows: Sequence[Record], spec: str, max_length: int, too_long: TooLong, where: str) -> list[int]:
    """Tokens of each row's `text` as `encode_texts` gives them.

    Raises:
        UserError: a text longer than `max_length` under "error", named by id.
    """

    def count() -> list[int]:
        return [len(ids) for ids in encode_texts(rows, read_tokenizer(spec), sys.maxsize, "truncate", where)]

    counts = kept_counts(spec, ["text", *(row["text"] for row in rows)], count)
    if too_long == "error":
        for row, tokens in zip(rows, counts, strict=True):
            refuse_long(row, tokens, max_length, where)
    warn_of_cut(sum(tokens > max_length for tokens in counts), len(counts), max_length, where)
    return [min(tokens, max_length) for tokens in counts]


def pair_lengths(pairs: Sequence[Sequence[Message]], spec: str) -> list[tuple[int, int]]:
    """Tokens of each conversation, and those before its answer, as `encode_pair` gives them.

    Raises:
        UserError: what the chat template refuses.
    """

    def count() -> list[int]:
        tokenizer = read_tokenizer(spec)
        encoded = [encode_pair(messages, tokenizer) for messages in pairs]
        return [number for ids, start in encoded for number in (len(ids), start)]

    counts = kept_counts(spec, ["pair", *pairs], count)
    return list(zip(counts[::2], counts[1::2], strict=True))


def bos_count(spec: str) -> int:
    """How many tokens a tokenizer puts before a text.

    Raises:
        UserError: see `load_tokenizer`.
    """
    return kept_counts(spec, ["bos"], lambda: [len(bos_ids(read_tokenizer(spec)))])[0]
