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


@pytest.mark.parametrize(
    "name", ["pass@1", "pass@10_high", "problems", "samples", "truncated", "failed", "kind=x/groups", "long_low", ""]
)
def test_a_measure_takes_no_name_of_the_scores(name: str) -> None:
    with pytest.raises(BrokenContract) as caught:
        measure(domain(lambda text: {name: [1.0]}), RECORDS, [["a"]] * 4)
    message = str(caught.value)
    assert f"in what it returned key is {name!r}" in message and "rename it" in message and "\n" not in message


@pytest.mark.parametrize("name", ["type/samples", "passes", "problem", "lowly"])
def test_names_that_only_look_like_scores_stay(name: str) -> None:
    assert measure(domain(lambda text: {name: [1.0]}), RECORDS, [["a"]] * 4)[name] == 1


def test_a_measure_is_not_named_as_a_status_of_the_domain() -> None:
    with pytest.raises(BrokenContract, match="measures gave 'refused', which is another number of evaluate: rename it"):
        measure(domain(lambda text: {"refused": [0.0]}), RECORDS, [["a"]] * 4, {"pass@1": 1.0, "refused": 2})
