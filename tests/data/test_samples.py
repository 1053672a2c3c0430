"""Samples of rows."""

from __future__ import annotations

from domino_lightning.data.samples import sample_indices


def test_rows_of_one_group_are_one_sample() -> None:
    rows = [{"id": "a", "group": "g"}, {"id": "b"}, {"id": "c", "group": "g"}, {"id": "d", "group": "h"}]
    assert sample_indices(rows) == [0, 1, 0, 2]
