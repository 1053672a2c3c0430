"""The reference corpus as token batches for prompt tuning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule

from domino_lightning.data.batches import make_loader
from domino_lightning.data.padded import collate_texts
from domino_lightning.data.samples import sample_indices
from domino_lightning.data.settings import ReferenceSettings
from domino_lightning.data.slots import assign_slots, rank_slots
from domino_lightning.data.text import encode_texts
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import read_jsonl


class ReferenceDataModule(ReferenceSettings, LightningDataModule):
    """Reference and held-out texts, tokenized and batched.

    Its arguments are those of `ReferenceSettings`.
    """

    encoded: dict[str, list[list[int]]]  # token ids of each split, from `setup` on
    samples: dict[str, list[int]]  # and the sample that each row is a copy of

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
        if hasattr(self, "encoded"):
            return
        from domino_lightning.models.backbone import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer_spec)
        encoded: dict[str, list[list[int]]] = {}
        samples: dict[str, list[int]] = {}
        for split, path in self.paths.items():
            rows = read_jsonl(path, required=("id", "text"))
            if not rows:
                raise UserError(f"{path}: the {split} set is empty; tuning needs at least one text.")
            encoded[split] = encode_texts(rows, tokenizer, self.max_length, self.too_long, str(path))
            samples[split] = sample_indices(rows)
        self.encoded, self.samples = encoded, samples

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
