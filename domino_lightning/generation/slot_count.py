"""How many rows are decoded at a time where nobody says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from domino_lightning.generation.kv_slots import Prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIZES = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2)  # few, so that a little memory changes no number
ON_CPU = 96
SHARE = 0.8  # of the free memory; a step's own tensors and the encoding of prompts need the rest
COPIES = 6  # float32 copies of the logits while tokens are drawn


def most_slots(device: torch.device) -> int:
    """The most that `fitting_slots` gives on a device."""
    return SIZES[0] if device.type == "cuda" else ON_CPU


def fitting_slots(model: PreTrainedModel, prefix: Prefix, columns: int) -> int:
    """Slots of so many columns that the device's free memory has room for; a fixed number on a CPU.

    The same device, model and columns give the same number, unless others take more than a quarter of the memory.
    """
    if model.device.type != "cuda":
        return ON_CPU
    free, _ = torch.cuda.mem_get_info(model.device)
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return slots_in(SHARE * free, slot_bytes(model, prefix, columns))


def slot_bytes(model: PreTrainedModel, prefix: Prefix, columns: int) -> int:
    """Memory of one slot: keys and values of its columns, and its logits."""
    known = prefix
    if not prefix.length:  # any token tells what the layers keep of one
        known = Prefix(model, model.get_input_embeddings()(torch.zeros(1, dtype=torch.long, device=model.device)))
    kept = sum(state[:, 0].nbytes for state in (*known.keys, *known.values))
    return columns * kept + COPIES * 4 * int(model.config.get_text_config().vocab_size)


def slots_in(room: float, each: int) -> int:
    """The largest of the usual numbers that fits; one, if none does."""
    return next((size for size in SIZES if size * each <= room), 1)
