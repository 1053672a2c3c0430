"""Chat pairs, synthetic or reference, as token batches for the coder's fine-tune."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import LightningDataModule

from domino_lightning.data.batches import make_loader
from domino_lightning.data.chat import collate_pairs, encode_pair
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, read_jsonl
from domino_lightning.utils.ranges import ONE_OR_MORE, TWO_OR_MORE, ZERO_OR_MORE, check_ranges
from domino_lightning.utils.seeding import derived_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


class SyntheticDataModule(LightningDataModule):
    """Chat pairs, tokenized and batched.

    Args:
        pairs: JSON Lines files with `messages`, the last of them the assistant's.
        heldout: the same, for validation.
        tokenizer: backbone spec; its chat template is used.
        batch_size: pairs of a step, over all ranks; a multiple of their number.
        max_length: tokens of a conversation.
        too_long: leave longer ones out, with a warning, or stop.
        size: train on exactly so many pairs, drawn by the seed from those that are there: corpora of several arms are
            then compared at one size. A smaller size's pairs are among a larger one's. Null: on all.
        seed: of the batch order, and of what `size` draws.
        num_workers: loader processes.
    """

    def __init__(
        self,
        pairs: Sequence[str | Path],
        heldout: str | Path,
        tokenizer: str,
        batch_size: int = 8,
        max_length: int = 512,
        too_long: Literal["drop", "error"] = "drop",
        size: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.pair_paths, self.heldout_path = [Path(path) for path in pairs], Path(heldout)
        self.tokenizer_spec = tokenizer
        self.batch_size, self.max_length, self.too_long = batch_size, max_length, too_long
        self.size, self.seed, self.num_workers = size, seed, num_workers
        limits = {"batch_size": ONE_OR_MORE, "max_length": TWO_OR_MORE, "size": ONE_OR_MORE}
        check_ranges("finetune.data", self, **limits, num_workers=ZERO_OR_MORE)
        self.too_long_pairs = 0
        self.encoded: dict[str, list[tuple[list[int], int]]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and tokenize.

        Raises:
            UserError: no pairs, or fewer than `size`, a bad line, or a conversation that is too long.
        """
        if self.encoded:
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


def drawn(pairs: int, size: int, seed: int) -> list[int]:
    """`size` of so many pairs by their place, in order; which is a function of (seed, pairs).

    Raises:
        UserError: there are fewer.
    """
    if pairs < size:
        raise UserError(
            f"finetune.data.size: exactly {size} pairs are asked for, so that arms are compared at one size, and there "
            f"are {pairs}. Lower it in every arm, or raise synthesize.stop.candidates; see the funnel of curate and "
            "answer for what removed the others."
        )
    return sorted(sorted(range(pairs), key=lambda index: derived_seed("size", seed, index))[:size])
