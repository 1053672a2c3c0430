"""A record that a method was to read is compared with what it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from domino_lightning.utils.contract import BrokenContract, Contract
from domino_lightning.utils.read_only import ReadOnly


class Reads(Contract, more="See the docs."):
    """A contract."""


class Reader(Reads):
    """One who keeps it, or not."""


def record() -> dict[str, Any]:
    return {"name": "Isar", "length": math.nan, "seas": [{"of": ["Black Sea"]}], "fish": None}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda given: given.update(name="ISAR"), "name"),
        (lambda given: given["seas"][0]["of"].append("North Sea"), "seas"),
        (lambda given: given.pop("fish"), "fish"),
        (lambda given: given.update(seen=True), "seen"),
    ],
)
def test_a_change_at_any_depth_is_told_by_method_and_key(change: Callable[[Any], Any], key: str) -> None:
    given = record()
    kept = ReadOnly(Reader(), given)
    change(given)
    with pytest.raises(BrokenContract, match=rf"Reader breaks .*Reads: records are .* tell changed .*'{key}'"):
        kept.check("tell")


def test_what_is_left_alone_passes_whatever_it_holds() -> None:
    given: Mapping[str, Any] = record()
    ReadOnly(Reader(), given).check("tell")
