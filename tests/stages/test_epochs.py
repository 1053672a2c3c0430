"""Batches, steps and texts of a training section, against a loop that counts them as Lightning does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.data.batches import SeededBatches
from domino_lightning.data.slots import batch_sizes
from domino_lightning.stages.epochs import Epochs


def looped(sizes: list[int], together: int, max_steps: int) -> tuple[int, int]:
    """(batches, texts) of a run that steps after `together` batches and at the end of every epoch."""
    batches = texts = steps = 0
    while steps < max_steps:
        for number, size in enumerate(sizes, start=1):
            batches, texts = batches + 1, texts + size
            if number % together == 0 or number == len(sizes):
                steps += 1
                if steps == max_steps:
                    break
    return batches, texts


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(1, 5), st.integers(1, 9), st.integers(1, 30))
def test_batches_and_texts_are_those_of_the_loop(owners: list[int], batch: int, together: int, max_steps: int) -> None:
    epochs = Epochs.of({"max_steps": max_steps, "accumulate_grad_batches": together}, batch, 0, owners)
    sizes = [len(rows) for rows in SeededBatches(owners, batch, 0)]
    assert batch_sizes(owners, batch, 0) == sizes
    assert (epochs.run, epochs.texts) == looped(sizes, together, max_steps)
    assert epochs.steps == max_steps


@pytest.mark.parametrize(
    ("trainer", "steps", "texts"),
    [
        ({"max_steps": 4}, 4, 2 + 2 + 2 + 2),
        ({"max_steps": 4, "accumulate_grad_batches": 8}, 4, 4 * 6),  # an epoch of three batches ends the step
        ({"max_steps": 2, "accumulate_grad_batches": 2}, 2, 4 + 2),
        ({"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2}, 4, 12),
        ({"max_steps": 3, "max_epochs": 2, "limit_train_batches": 1}, 2, 4),
        ({"max_steps": -1}, 3000, 6000),
    ],
)
def test_six_texts_in_batches_of_two_by_hand(trainer: dict[str, Any], steps: int, texts: int) -> None:
    epochs = Epochs.of(trainer, 2, 0, range(6))
    assert (epochs.steps, epochs.texts) == (steps, texts)


def test_steps_are_known_without_data_where_they_are_given() -> None:
    assert Epochs.of({"max_steps": 7}, 2, 0, None).steps == 7
    assert Epochs.of({"max_epochs": 7}, 2, 0, None).steps is None
    assert Epochs.of({"max_steps": 7}, 2, 0, None).texts is None
