"""Batches of token ids as right-padded tensors; apart from the ids, since who counts tokens does without torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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


class ChatBatch(NamedTuple):
    """Right-padded conversations that end with the assistant's answer.

    Attributes:
        ids: (B, L) token ids.
        lengths: (B,) tokens of each conversation.
        answer_starts: (B,) position of the answer's first token.
        valid: (B,) bool; False on rows that only pad a ragged rank.
    """

    ids: Tensor
    lengths: Tensor
    answer_starts: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> ChatBatch:
        """The batch on a device."""
        return ChatBatch(*(tensor.to(device) for tensor in self))

    def token_mask(self) -> Tensor:
        """(B, L) bool: positions that hold a token, by length and never by id."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]

    def answer_mask(self) -> Tensor:
        """(B, L) bool: the assistant's tokens of valid rows, its EOS included."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device)
        return self.token_mask() & (positions >= self.answer_starts[:, None]) & self.valid[:, None]


def collate_texts(items: list[Encoded | None]) -> TextBatch:
    """Right-pad a batch; None becomes a row of one token that is not valid."""
    filled = [item or ([0], 0) for item in items]
    return TextBatch(
        ids=pad_sequence([torch.tensor(ids) for ids, _ in filled], batch_first=True),
        lengths=torch.tensor([len(ids) for ids, _ in filled]),
        samples=torch.tensor([sample for _, sample in filled]),
        valid=torch.tensor([item is not None for item in items]),
    )


def collate_pairs(items: list[tuple[list[int], int] | None]) -> ChatBatch:
    """Right-pad a batch; None becomes a row of one token that is not valid."""
    filled = [item or ([0], 0) for item in items]
    return ChatBatch(
        ids=pad_sequence([torch.tensor(ids) for ids, _ in filled], batch_first=True),
        lengths=torch.tensor([len(ids) for ids, _ in filled]),
        answer_starts=torch.tensor([start for _, start in filled]),
        valid=torch.tensor([item is not None for item in items]),
    )
