"""Measures beside passing are shares: means with intervals, or the class that gives another number."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.domains import Domain
from domino_lightning.evaluation.measures import measure
from domino_lightning.utils.contract import BrokenContract

RECORDS = [{"id": str(n), "group": str(n)} for n in range(4)]


def domain(measures: Any) -> Domain:
    """One that measures a completion so."""
    others = {name: lambda *_: {} for name in ("read", "render", "parse", "prompt")}
    kind: Any = type("Measured", (Domain,), {"measures": lambda self, record, text: measures(text), **others})
    made: Domain = kind()
    return made


def test_shares_have_a_mean_and_an_interval() -> None:
    found = measure(domain(lambda text: {"long": [min(len(text), 2) / 2]}), RECORDS, [["a"], ["bb"], ["cc", "d"], [""]])
    assert found["long"] == pytest.approx((0.5 + 1 + 1 + 0.5 + 0) / 5)
    assert 0 <= found["long_low"] < found["long"] < found["long_high"] <= 1


@pytest.mark.parametrize("number", [3.0, -0.01, float("nan"), float("inf"), True, "0.5"])
def test_what_is_no_share_is_refused_and_never_left_out(number: Any) -> None:
    with pytest.raises(BrokenContract, match="measures must return .*each item a number from 0 to 1, and in what it"):
        measure(domain(lambda text: {"long": [0.5, number]}), RECORDS, [["a"]] * 4)
