"""Random numbers keyed by what they are for, never by global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domino_lightning.utils.jsonl import sha256_text

if TYPE_CHECKING:
    import torch


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed that is a fixed function of the parts, on every machine and version."""
    return int(sha256_text("/".join(map(str, parts)))[:16], 16) >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU torch generator seeded by the parts."""
    import torch

    return torch.Generator().manual_seed(derived_seed(*parts))
