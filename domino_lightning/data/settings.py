"""What the DataModules are told, apart from them, since they bring Lightning, which a check does without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from domino_lightning.data.text import TooLong
from domino_lightning.errors import UserError
from domino_lightning.utils.ranges import ONE_OR_MORE, ROWS, TWO_OR_MORE, WORKERS_OR_NONE, check_ranges
from domino_lightning.utils.seeding import derived_seed


class ReferenceSettings:
    """The arguments of `ReferenceDataModule`.

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
        check_ranges("tune.data", self, batch_size=ROWS, max_length=TWO_OR_MORE, num_workers=WORKERS_OR_NONE)


class SyntheticSettings:
    """The arguments of `SyntheticDataModule`.

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
        limits = {"batch_size": ROWS, "max_length": TWO_OR_MORE, "size": ONE_OR_MORE}
        check_ranges("finetune.data", self, **limits, num_workers=WORKERS_OR_NONE)


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
