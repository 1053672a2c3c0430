"""What a domain measures of completions beside passing, as means with intervals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isfinite

from domino_lightning.domains.base import Domain
from domino_lightning.utils.contract import broken
from domino_lightning.utils.jsonl import Record


def measure(
    domain: Domain, records: Sequence[Record], completions: Sequence[Sequence[str]], taken: Collection[str] = ()
) -> dict[str, float]:
    """The mean of each of the domain's `measures`, as `<name>`, `<name>_low` and `<name>_high`.

    Every number counts once, so that a record with three of them weighs three times one with a single one; they are
    correlated within a group of records, so the interval is that over new groups (`statistics.cluster_mean`). An end
    of an interval that does not exist is left out.

    Args:
        domain: what measures.
        records: what was asked.
        completions: of each record, in the same order.
        taken: names of other numbers.

    Raises:
        BrokenContract: a measure has one of those names.
    """
    from domino_lightning.evaluation.statistics import cluster_mean

    values: dict[str, list[float]] = {}
    groups: dict[str, list[str]] = {}
    for record, texts in zip(records, completions, strict=True):
        for text in texts:
            for name, numbers in domain.measures(record, text).items():
                if name in taken:  # a status of the domain's own, for example
                    raise broken(domain, f"measures gave '{name}', which is another number of evaluate: rename it")
                values.setdefault(name, []).extend(numbers)
                groups.setdefault(name, []).extend([record["group"]] * len(numbers))
    found: dict[str, float] = {}
    for name, numbers in values.items():
        if numbers:
            estimate = cluster_mean(numbers, groups[name])
            found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {name: float(value) for name, value in found.items() if isfinite(value)}
