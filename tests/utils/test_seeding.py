"""Seeds keyed by what they are for."""

from __future__ import annotations

import hashlib

import torch

from domino_lightning.utils.seeding import derived_seed, generator


def test_a_derived_seed_is_the_first_63_bits_of_the_parts_sha256() -> None:
    digest = hashlib.sha256(b"pairs/0/7/3").digest()
    assert derived_seed("pairs", 0, 7, 3) == int.from_bytes(digest[:8], "big") >> 1


def test_seeds_differ_by_every_part_and_by_their_order() -> None:
    seeds = {derived_seed(*parts) for parts in [("a", 1, 2), ("a", 2, 1), ("b", 1, 2), ("a", 1), ("a", 12)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_is_reproducible_and_leaves_global_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again = (torch.rand(4, generator=generator("domain", 1)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(first, torch.rand(4, generator=generator("domain", 2)))
