"""How many rows fit a device, and how that is said."""

from __future__ import annotations

import pytest

from domino_lightning.planning.cost import LARGEST, Cost, Growth


def growth(asked: list[int], fixed: float = 10.0, each: float = 3.0, processes: int = 1) -> Growth:
    def memory(rows: int) -> float:
        asked.append(rows)
        return fixed + each * rows

    return Growth("tune.data.batch_size", 4, processes, memory)


@pytest.mark.parametrize(
    ("limit", "most"), [(12.9, 0), (13.0, 1), (15.9, 1), (16.0, 2), (100.0, 30), (3082.0, 1024), (3081.9, 1023)]
)
def test_the_largest_number_of_rows_is_found_in_a_few_looks(limit: float, most: int) -> None:
    asked: list[int] = []
    assert growth(asked).largest(limit) == most
    assert len(asked) <= 2 * 11


def test_the_search_ends_where_memory_does_not_bind() -> None:
    assert growth([], each=0.0).largest(11.0) == LARGEST


def test_what_fits_is_said_with_the_key_and_the_number_over_all_processes() -> None:
    # A twentieth is left free: of 100 bytes 95 are to be had, which is 28 rows of each of two processes.
    found = Cost("", memory=22.0, growth=growth([], processes=2))
    assert found.room(100.0) == "fits; tune.data.batch_size up to 56"
    assert Cost("", memory=97.0, growth=growth([])).room(100.0) == "does not fit; tune.data.batch_size up to 28"
    assert Cost("", memory=97.0, growth=growth([])).room(12.0) == "does not fit; not even one row at a time does"
    assert Cost("", memory=95.0).room(100.0) == "fits"
