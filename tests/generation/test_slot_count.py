"""How many rows are decoded at a time where nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domino_lightning.errors import UserError
from domino_lightning.generation.kv_slots import Prefix
from domino_lightning.generation.slot_count import fitting_slots, most_slots, slot_bytes, slots_in
from domino_lightning.synthesis import ModelSource, Sampling, TransformersEngine
from domino_lightning.testing import tiny_model


@pytest.mark.parametrize(("room", "slots"), [(0, 1), (19, 1), (20, 2), (999, 96), (2559, 192), (2560, 256), (1e9, 256)])
def test_the_largest_usual_number_that_fits(room: float, slots: int) -> None:
    assert slots_in(room, 10) == slots


@pytest.mark.parametrize("length", [0, 3])
def test_a_slot_is_its_columns_and_its_logits(length: int) -> None:
    model = tiny_model(vocabulary=61)  # 2 layers, 2 heads of keys and values, 8 numbers each, in float32
    prefix = Prefix(model, torch.zeros(length, 32))
    assert slot_bytes(model, prefix, 100) == 100 * 2 * 2 * 2 * 8 * 4 + 6 * 4 * 61


def test_a_cpu_has_a_fixed_number() -> None:
    model = tiny_model(vocabulary=61)
    assert fitting_slots(model, Prefix(model, torch.zeros(0, 32)), 10**9) == 96 == most_slots(torch.device("cpu"))
    assert most_slots(torch.device("cuda")) == 256


def test_auto_gives_the_texts_of_any_number(tiny_backbone: Path) -> None:
    texts = [
        TransformersEngine(size).load(ModelSource(str(tiny_backbone))).complete(
            ["ab", "c", "def"], range(3), 0, Sampling(1.0, max_new_tokens=9)
        )
        for size in ("auto", 2)
    ]  # fmt: skip
    assert texts[0] == texts[1]
    with pytest.raises(UserError, match="batch_size -1"):
        TransformersEngine(-1)
