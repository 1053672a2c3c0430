"""A split by kind: the domain's word on each record, whole groups, nothing dropped in silence."""

from __future__ import annotations

import pytest

from domino_lightning.data.sides import by_kind
from domino_lightning.data.source import Split, split_records
from domino_lightning.data.windows import Windows
from domino_lightning.errors import UserError

RECORDS = [{"id": str(n), "group": f"g{n // 2}", "side": side} for n, side in enumerate(
    ["reference", "reference", "reference", "test", "test", "test", "neither", "test"]
)]  # fmt: skip


def test_a_group_on_both_sides_is_learned_from_and_the_rest_is_counted() -> None:
    sides = by_kind(RECORDS, lambda record: record["side"])
    assert sides is not None
    assert [record["id"] for record in sides.reference] == ["0", "1", "2"]
    assert [record["id"] for record in sides.test] == ["4", "5", "7"]  # 3 is of the group of 2
    assert (sides.outside, sides.straddling) == (1, 1)
    splits = split_records(RECORDS, Split(1, 1, None), 0, sides)
    assert {record["id"] for record in splits["test"]} == {"4", "5", "7"}


def test_without_sides_the_split_is_by_hash_alone() -> None:
    assert by_kind(RECORDS, lambda record: None) is None


def test_a_domain_that_knows_the_side_of_some_records_only_is_refused() -> None:
    with pytest.raises(UserError, match="row '1' has no side"):
        by_kind(RECORDS, lambda record: None if record["id"] == "1" else "test")


def test_dates_and_kinds_cannot_both_decide() -> None:
    sides = by_kind(RECORDS, lambda record: record["side"])
    windows = Windows(("2023-01-01", "2023-02-01"), ("2023-02-01", "2023-03-01"))
    with pytest.raises(UserError, match="the domain splits by kind already"):
        split_records(RECORDS, Split(1, 1, None, windows), 0, sides)
