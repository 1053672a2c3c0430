"""Texts as vectors of length 1, in which the measures of variety and coverage see them.

Light to import: NumPy and torch are loaded when texts are embedded.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domino_lightning.curation.similarity import ngrams, tokens
from domino_lightning.errors import UserError
from domino_lightning.store.contents import backbone_hash
from domino_lightning.utils.contract import Contract
from domino_lightning.utils.ranges import ONE_OR_MORE, ROWS, Range, check_ranges

if TYPE_CHECKING:
    from domino_lightning.curation.measures.base import Floats


_DIMENSIONS = Range("from 2 to 1000000", 2, 10**6)  # of a dense vector for every text


class Embedding(Contract, ABC, more="docs/curation.md says what an embedding gives."):
    """Vectors of texts, named by `class_path` under `answer.embedding`."""

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """Keys of `init_args` that name outside content, with its hash."""
        return {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """Arguments that make it small for a smoke run on a tiny backbone."""
        return {}

    @abstractmethod
    def embed(self, references: Sequence[str], *others: Sequence[str]) -> list[Floats]:
        """(n, d) vectors of length 1 for each group of texts, the references' first.

        Whatever is fitted is fitted to the references alone, so that synthetic and held-out texts are seen alike.
        """


class HashedNgrams(Embedding):
    """TF-IDF of token n-grams, hashed into d dimensions (Salton and Buckley 1988; Weinberger et al. 2009).

    Loads no model. A text's n-gram counts c become (1 + ln c) · idf, with idf = 1 + ln((1 + N) / (1 + n)) for an
    n-gram in n of the N references. Comments and layout do not count. No entry is negative, so cosine distances
    are in [0, 1].

    Args:
        orders: lengths of n-grams in tokens.
        dimensions: d; different n-grams that meet in one dimension count as one.
    """

    def __init__(self, orders: Sequence[int] = (1, 2, 3), dimensions: int = 8192) -> None:
        if not orders or min(orders) < 1:
            raise UserError(f"answer.embedding: orders {list(orders)} must be lengths of 1 or more.")
        self.orders, self.dimensions = tuple(orders), dimensions
        check_ranges("answer.embedding", self, dimensions=_DIMENSIONS)

    def embed(self, references: Sequence[str], *others: Sequence[str]) -> list[Floats]:
        """TF-IDF vectors; texts without a token are alike, and unlike all others."""
        import numpy as np

        from domino_lightning.curation.measures.base import normalized

        counted = [[self._counts(text) for text in texts] for texts in (references, *others)]
        seen = Counter(place for counts in counted[0] for place in counts)
        idf = np.full(self.dimensions, 1 + math.log(1 + len(references)))
        for place, number in seen.items():
            idf[place] -= math.log(1 + number)
        groups = []
        for texts in counted:
            vectors = np.zeros((len(texts), self.dimensions))
            for row, counts in enumerate(texts):
                places, numbers = list(counts), np.array(list(counts.values()), dtype=np.float64)
                vectors[row, places] = (1 + np.log(numbers)) * idf[places]
            groups.append(normalized(vectors))
        return groups

    def _counts(self, text: str) -> Counter[int]:
        words = tokens(text)
        grams = [gram for order in self.orders for gram in ngrams(words, order)]
        # Dimension 0 is kept for texts without a token.
        places = [1 + zlib.crc32(repr(gram).encode()) % (self.dimensions - 1) for gram in grams]
        return Counter(places or [0])


class HiddenStates(Embedding):
    """Mean of a language model's last hidden states over a text's tokens, less the references' mean.

    Hidden states of all texts point much the same way; what they have in common is taken off (Mu and Viswanath
    2018, arXiv 1702.01417, without the principal components). Cosine distances are in [0, 2].

    Args:
        backbone: backbone spec.
        max_length: tokens of a text that are read.
        batch_size: texts encoded at a time.
    """

    def __init__(self, backbone: str, max_length: int = 512, batch_size: int = 16) -> None:
        self.backbone, self.max_length, self.batch_size = backbone, max_length, batch_size
        check_ranges("answer.embedding", self, max_length=ONE_OR_MORE, batch_size=ROWS)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        spec = init_args.get("backbone")
        return {"backbone": backbone_hash(spec, "answer.embedding.init_args.backbone")} if isinstance(spec, str) else {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny backbone."""
        return {"backbone": backbone}

    def embed(self, references: Sequence[str], *others: Sequence[str]) -> list[Floats]:
        """Centered mean hidden states."""
        import numpy as np

        from domino_lightning.curation.measures.base import normalized

        texts = [text for group in (references, *others) for text in group]
        states = self._states(texts)
        center = states[: len(references)].mean(axis=0) if len(references) else 0.0
        ends = np.cumsum([len(references), *map(len, others)])[:-1]
        return [normalized(part) for part in np.split(states - center, ends)]

    def _states(self, texts: Sequence[str]) -> Floats:
        """(n, H) means, on an accelerator if there is one."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from domino_lightning.models.backbone import load_backbone, load_tokenizer

        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        tokenizer = load_tokenizer(self.backbone)
        model: Any = load_backbone(self.backbone).base_model.to(device)
        parts = [torch.zeros(0, model.config.get_text_config().hidden_size)]
        for start in range(0, len(texts), self.batch_size):
            rows = [
                tokenizer(text or " ").input_ids[: self.max_length] for text in texts[start : start + self.batch_size]
            ]
            lengths = torch.tensor([len(row) for row in rows], device=device)
            ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)
            mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
            with torch.inference_mode():
                hidden = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
            means = (hidden * mask[..., None]).sum(dim=1) / lengths[:, None]
            parts.append(means.float().cpu())
        return torch.cat(parts).double().numpy()
