"""The corpora of a sweep's arms on one map, and how much of each comes close to the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.reporting.corpus_map import (
    NO_MAP,
    CorpusPoints,
    Projection,
    map_charts,
    memorisation_chart,
    read_points,
)
from domino_lightning.reporting.sweep.arms import Arm

PANELS = 12  # maps of one page


def maps(arms: Sequence[Arm], projection: Projection) -> dict[str, Any]:
    """The content of the page: `maps`, `memorisation`, and in words what is not among them.

    A map is of an arm's first seed; the curve is over the texts of all its seeds. Arms of one corpus share both.

    Raises:
        UserError: UMAP was asked for and is not installed.
    """
    said: list[str] = []
    corpora: dict[tuple[str, ...], list[CorpusPoints]] = {}
    for arm in arms:
        trials = {trial.stages["answer"].fingerprint: trial for trial in reversed(arm.begun)}
        finished = [trial for trial in reversed(trials.values()) if trial.stages["answer"].state == "finished"]
        found: list[CorpusPoints] = []
        without = 0
        for trial in finished:
            try:
                points = read_points(trial.stages["answer"], trial.stages["prepare"], [arm.label])
            except UserError as error:
                said.append(str(error))
                continue
            found += [points] if points else []
            without += points is None
        if without:
            said.append(f"{arm.label}: {without} of {len(finished)} corpora have {NO_MAP}.")
        key = tuple(trial.stages["answer"].fingerprint for trial in finished)
        if key in corpora:
            corpora[key] = [replace(each, labels=[*each.labels, arm.label]) for each in corpora[key]]
        elif found:
            corpora[key] = found
    firsts = [found[0] for found in corpora.values()]
    charts = map_charts(firsts[:PANELS], projection)
    flat = len(firsts[:PANELS]) - len(charts)
    if flat:
        said.append(f"{flat} corpora have no map: their references do not differ in two directions.")
    if len(firsts) > PANELS:
        said.append(f"{len(firsts) - PANELS} further corpora have no map here.")
    pooled = [
        replace(found[0], nearest={group: _pooled(found, group) for group in found[0].nearest})
        for found in corpora.values()
    ]
    chart = memorisation_chart(pooled, "Share of texts above a similarity to the nearest reference, by arm")
    return {"maps": charts, "memorisation": chart, "map_notes": said, "projection": projection}


def _pooled(found: Sequence[CorpusPoints], group: str) -> list[float]:
    """All seeds' synthetic texts; held-out ones are the same for all, so those of the first."""
    return [near for each in (found if group == "synthetic" else found[:1]) for near in each.nearest[group]]
