"""A batch of texts as token ids."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
