"""Run candidates through filters in order; every row ends accepted, or rejected by one filter with a reason."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from domino_lightning.curation.filters import Candidate, Context, Filter
from domino_lightning.domains.base import Unparsable
from domino_lightning.records import Record

log = logging.getLogger(__name__)


class Curated(NamedTuple):
    """Accepted records, rejected rows with `reason` and `detail`, and the count of each step."""

    accepted: list[Record]
    rejected: list[Record]
    funnel: dict[str, Any]


def curate(rows: Iterable[Record], filters: Sequence[Filter], context: Context) -> Curated:
    """Apply the filters to every row. A filter that crashes on a row rejects that row, never the run."""
    for each in filters:
        each.open(context)
    accepted: list[Record] = []
    rejected: list[Record] = []
    counts: Counter[int] = Counter()
    total = 0
    for row in rows:
        total += 1
        candidate = Candidate(row, context.domain)
        step, reason, detail = _first_rejection(candidate, filters)
        if reason is None:
            accepted.append(candidate.record)
        else:
            counts[step] += 1
            rejected.append({**row, "reason": reason, "detail": detail})
    steps, left = [], total
    for step, name in enumerate([*(each.reason for each in filters), "parse"]):
        if step < len(filters) or counts[step]:
            steps.append({"filter": name, "in": left, "rejected": counts[step], "out": left - counts[step]})
        left -= counts[step]
    return Curated(accepted, rejected, {"candidates": total, "steps": steps, "accepted": len(accepted)})


def _first_rejection(candidate: Candidate, filters: Sequence[Filter]) -> tuple[int, str | None, str]:
    for step, each in enumerate(filters):
        try:
            detail = each.reject(candidate)
        except Unparsable as error:
            detail = f"{error.reason}: {error}"
        except Exception as error:
            log.warning("filter %s crashed on row %s: %r", type(each).__name__, candidate.row["id"], error)
            detail = f"filter crashed: {type(error).__name__}: {error}"
        if detail is not None:
            return step, each.reason, detail
    try:
        _ = candidate.record  # without a parse filter, a row that is no record still cannot be accepted
    except Unparsable as error:
        return len(filters), "parse", f"{error.reason}: {error}"
    except Exception as error:
        log.warning("%s crashed on row %s: %r", type(candidate.domain).__name__, candidate.row["id"], error)
        return len(filters), "parse", f"parser crashed: {type(error).__name__}: {error}"
    return -1, None, ""
