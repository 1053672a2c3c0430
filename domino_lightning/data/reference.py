"""The reference corpus as token batches for prompt tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.nn.utils.rnn import pad_sequence

from domino_lightning.data.batches import assign_slots, make_loader, rank_slots
from domino_lightning.data.text import TextBatch
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, read_jsonl
from domino_lightning.utils.ranges import ONE_OR_MORE, TWO_OR_MORE, ZERO_OR_MORE, check_ranges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TooLong = Literal["error", "truncate"]
Encoded = tuple[list[int], int]  # token ids, sample index


def encode_texts(
    rows: Sequence[Record], tokenizer: PreTrainedTokenizerBase, max_length: int, too_long: TooLong, where: str
) -> list[list[int]]:
    """Token ids of each row's `text`, ended by EOS; a text cut at `max_length` gets no EOS.

    Raises:
        UserError: a text longer than `max_length` under "error", named by id.
    """
    encoded = []
    for row in rows:
        ids = [*tokenizer(row["text"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        if len(ids) > max_length and too_long == "error":
            raise UserError(
                f"{where}: row '{row['id']}' has {len(ids)} tokens with its EOS, more than tune.data.max_length "
                f"{max_length}. Raise tune.data.max_length, set tune.data.too_long=truncate, or leave the row out."
            )
        encoded.append(ids[:max_length])
    return encoded


def sample_indices(rows: Sequence[Record]) -> list[int]:
    """(N,) which sample each row is a copy of: rows that share `group` share their sample tokens."""
    index: dict[str, int] = {}
    return [index.setdefault(str(row.get("group", row["id"])), len(index)) for row in rows]


def collate_texts(items: list[Encoded | None]) -> TextBatch:
    """Right-pad a batch; None becomes a row of one token that is not valid."""
    filled = [item or ([0], 0) for item in items]
    return TextBatch(
        ids=pad_sequence([torch.tensor(ids) for ids, _ in filled], batch_first=True),
        lengths=torch.tensor([len(ids) for ids, _ in filled]),
        samples=torch.tensor([sample for _, sample in filled]),
        valid=torch.tensor([item is not None for item in items]),
    )


class ReferenceDataModule(LightningDataModule):
    """Reference and held-out texts, tokenized and batched.

    Args:
        reference: JSON Lines with `id`, `text` and optionally `group`; rows of one group are one sample.
        heldout: the same, for validation.
        tokenizer: backbone spec.
        batch_size: texts of a step, over all ranks; a multiple of their number.
        max_length: tokens of a text, EOS included.
        too_long: what to do with a longer one.
        seed: of the batch order.
        num_workers: loader processes.
    """

    def __init__(
        self,
        reference: str | Path,
        heldout: str | Path,
        tokenizer: str,
        batch_size: int = 4,
        max_length: int = 256,
        too_long: TooLong = "error",
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.paths = {"reference": Path(reference), "heldout": Path(heldout)}
        self.tokenizer_spec = tokenizer
        self.batch_size, self.max_length, self.too_long = batch_size, max_length, too_long
        self.seed, self.num_workers = seed, num_workers
        check_ranges("tune.data", self, batch_size=ONE_OR_MORE, max_length=TWO_OR_MORE, num_workers=ZERO_OR_MORE)
        self.encoded: dict[str, list[list[int]]] = {}
        self.samples: dict[str, list[int]] = {}

    @property
    def num_samples(self) -> int:
        """Distinct samples of the reference corpus, each with sample tokens of its own."""
        return max(self.samples["reference"]) + 1

    def owned_samples(self) -> list[int]:
        """The samples of this rank: those of its slots (see `assign_slots`).

        Raises:
            UserError: the batch cannot be shared out evenly among the ranks.
        """
        owners, trainer = self.samples["reference"], self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        share = rank_slots(self.batch_size, rank, world_size)
        slot_of = assign_slots(owners, self.batch_size, self.seed)
        return [sample for sample, slot in enumerate(slot_of) if slot in share]

    def setup(self, stage: str | None = None) -> None:
        """Read and tokenize both splits.

        Raises:
            UserError: an empty split, a bad line or a text that is too long.
        """
        if self.encoded:
            return
        from domino_lightning.models.backbone import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer_spec)
        encoded = {}
        for split, path in self.paths.items():
            rows = read_jsonl(path, required=("id", "text"))
            if not rows:
                raise UserError(f"{path}: the {split} set is empty; tuning needs at least one text.")
            encoded[split] = encode_texts(rows, tokenizer, self.max_length, self.too_long, str(path))
            self.samples[split] = sample_indices(rows)
        self.encoded = encoded

    def train_dataloader(self) -> Any:
        """Shuffled reference batches of this rank."""
        return self._loader("reference", train=True)

    def val_dataloader(self) -> Any:
        """Held-out batches of this rank, in file order."""
        return self._loader("heldout", train=False)

    def _loader(self, split: str, train: bool) -> Any:
        items = list(zip(self.encoded[split], self.samples[split], strict=True))
        return make_loader(
            items, self.samples[split], collate_texts, self.batch_size, self.seed, self.trainer,
            self.num_workers, train,
        )  # fmt: skip
