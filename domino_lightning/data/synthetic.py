"""Chat pairs, synthetic or reference, as token batches for the coder's fine-tune."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule

from domino_lightning.data.batches import make_loader
from domino_lightning.data.chat import encode_pair
from domino_lightning.data.padded import collate_pairs
from domino_lightning.data.settings import SyntheticSettings, drawn
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, read_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


class SyntheticDataModule(SyntheticSettings, LightningDataModule):
    """Chat pairs, tokenized and batched.

    Its arguments are those of `SyntheticSettings`.
    """

    too_long_pairs = 0  # left out
    encoded: dict[str, list[tuple[list[int], int]]]  # token ids and where the answer begins, from `setup` on

    def setup(self, stage: str | None = None) -> None:
        """Read and tokenize.

        Raises:
            UserError: no pairs, or fewer than `size`, a bad line, or a conversation that is too long.
        """
        if hasattr(self, "encoded"):
            return
        from domino_lightning.models.backbone import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer_spec)
        train = [pair for path in self.pair_paths for pair in self._encode(path, tokenizer)]
        if not train:
            raise UserError(f"{', '.join(map(str, self.pair_paths))}: no chat pairs to train on.{self._long_ones()}")
        if self.size is not None:
            train = [train[index] for index in drawn(len(train), self.size, self.seed)]
        self.encoded = {"train": train, "heldout": self._encode(self.heldout_path, tokenizer)}

    def _encode(self, path: Path, tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], int]]:
        rows: list[Record] = read_jsonl(path, required=("messages",))
        encoded = [encode_pair(row["messages"], tokenizer) for row in rows]
        long = [(row, len(ids)) for row, (ids, _) in zip(rows, encoded, strict=True) if len(ids) > self.max_length]
        if long:
            row, length = long[0]
            what = (
                f"{path}: pair '{row.get('source_id')}' has {length} tokens, more than "
                f"finetune.data.max_length {self.max_length}"
            )
            if self.too_long == "error":
                raise UserError(f"{what}. Raise it, or set finetune.data.too_long=drop.")
            self.too_long_pairs += len(long)
            log.warning("%s; it and %d more are left out.", what, len(long) - 1)
        return [pair for pair in encoded if len(pair[0]) <= self.max_length]

    def _long_ones(self) -> str:
        if not self.too_long_pairs:
            return ""
        return f" All {self.too_long_pairs} are longer than finetune.data.max_length {self.max_length}: raise it."

    def train_dataloader(self) -> Any:
        """Shuffled pairs of this rank."""
        return self._loader("train", train=True)

    def val_dataloader(self) -> Any:
        """Held-out pairs of this rank, in file order."""
        return self._loader("heldout", train=False)

    def _loader(self, split: str, train: bool) -> Any:
        items = self.encoded[split]
        return make_loader(
            items, range(len(items)), collate_pairs, self.batch_size, self.seed, self.trainer,
            self.num_workers, train,
        )  # fmt: skip
