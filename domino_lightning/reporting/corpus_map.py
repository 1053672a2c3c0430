"""Where corpora lie: a map of references, held-out and synthetic texts, and how many come close to a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from domino_lightning.curation.measures.base import Floats
from domino_lightning.errors import UserError
from domino_lightning.reporting.charts import GRID, INK, SERIES, figure_of, svg_of
from domino_lightning.reporting.collect import StageDir, number, read_optional
from domino_lightning.utils.jsonl import read_jsonl

Projection = Literal["pca", "umap"]
# Group of a row → what it is called, its marker and color, and whether the marker is filled.
GROUPS = {
    "reference": ("references", "s", SERIES[5], False),
    "heldout": ("held-out", "^", SERIES[1], False),
    "synthetic": ("synthetic", "o", SERIES[0], True),
}
LINES = 6  # of one chart: as many as there are colors
_THRESHOLDS = 201
NO_MAP = "no map.jsonl: they are empty, or were made before there was one (--force answer makes it)"


@dataclass(frozen=True)
class CorpusPoints:
    """What `map.jsonl` of an answer stage holds.

    Attributes:
        labels: of what this corpus belongs to.
        at: (n, k) coordinates of each group.
        nearest: similarity to the nearest reference of each text, by group; references have none.
        space: what must be equal for two corpora to lie on one map.
    """

    labels: list[str]
    at: dict[str, Floats]
    nearest: dict[str, list[float]]
    embedding: str
    explained: list[float]
    space: tuple[str, ...]


def read_points(answer: StageDir, prepare: StageDir, labels: Sequence[str]) -> CorpusPoints | None:
    """The points of a corpus; None where its stage has none: it is not finished, empty, or older than maps are.

    Raises:
        UserError: a file that is not what it should be.
    """
    path = answer.path / "map.jsonl"
    if not answer.exists or not path.is_file():
        return None
    rows, corpus = read_jsonl(path), read_optional(answer, "corpus.json") or {}
    try:
        at = {group: np.array([row["at"] for row in rows if row["group"] == group]) for group in GROUPS}
        near = {name: [float(row["nearest"]) for row in rows if row["group"] == name] for name in tuple(GROUPS)[1:]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a map ({type(error).__name__}: {error}).") from None
    if not rows:
        return None
    embedding = str(corpus.get("embedding") or "?")
    explained = [value for each in corpus.get("explained") or [] if (value := number(each)) is not None]
    space = (prepare.fingerprint, embedding, *map(str, at["reference"].ravel()[:20]))
    return CorpusPoints(list(labels), at, near, embedding, explained, space)


def map_charts(corpora: Sequence[CorpusPoints], projection: Projection = "pca") -> list[dict[str, Any]]:
    """One map for each corpus; those of one space have the same axes and the same scale.

    Raises:
        UserError: UMAP was asked for and is not installed.
    """
    charts = []
    placed = _placed(corpora, projection)
    for number_, (corpus, places) in enumerate(zip(corpora, placed, strict=True), start=1):
        if any(len(table) and table.shape[1] < 2 for table in places.values()):
            continue  # the references do not differ in two directions
        same = [other for one, other in zip(corpora, placed, strict=True) if one.space == corpus.space]
        all_ = np.concatenate([table for other in same for table in other.values() if len(table)])
        names = _axis_names(corpus, projection)
        title = f"{projection.upper()} of {corpus.labels[0]}, corpus {number_}"
        charts.append(
            {
                "labels": corpus.labels,
                "svg": Markup(_scatter(places, all_, names, title)),
                "counts": [(GROUPS[group][0], len(table)) for group, table in places.items()],
                "embedding": corpus.embedding,
                "projection": projection,
            }
        )
    return charts


def _axis_names(corpus: CorpusPoints, projection: Projection) -> tuple[str, str]:
    if projection == "umap":
        return "UMAP 1", "UMAP 2"
    shares = [f" ({share:.0%})" for share in corpus.explained[:2]] + ["", ""]
    return f"component 1{shares[0]}", f"component 2{shares[1]}"


def _placed(corpora: Sequence[CorpusPoints], projection: Projection) -> list[dict[str, Floats]]:
    """(n, 2) coordinates of every corpus's groups; UMAP is fitted to all corpora of a space together."""
    if projection == "pca":
        return [{group: table[:, :2] for group, table in corpus.at.items() if len(table)} for corpus in corpora]
    placed: list[dict[str, Floats]] = [{} for _ in corpora]
    for space in dict.fromkeys(corpus.space for corpus in corpora):
        members = [place for place, corpus in enumerate(corpora) if corpus.space == space]
        each = [(place, *item) for place in members for item in corpora[place].at.items()]
        tables = [(place, group, table) for place, group, table in each if len(table)]
        whole = np.concatenate([table for *_, table in tables])
        distinct, back = np.unique(whole, axis=0, return_inverse=True)
        found = _umap(distinct)[back.ravel()]
        ends = np.cumsum([len(table) for *_, table in tables])[:-1]
        for (place, group, _), part in zip(tables, np.split(found, ends), strict=True):
            placed[place][group] = part
    return placed


def _umap(points: Floats) -> Floats:
    """(n, 2) of (n, k) points (McInnes et al. 2018, arXiv 1802.03426), the same in every call.

    Raises:
        UserError: umap-learn is not installed.
    """
    try:
        import umap
    except ImportError:
        raise UserError(
            "--map umap needs umap-learn. Install it: pip install 'domino_lightning[umap]', or leave it out for "
            "principal components."
        ) from None
    neighbors = min(15, max(2, len(points) - 1))
    found: Floats = np.asarray(umap.UMAP(n_neighbors=neighbors, random_state=0).fit_transform(points), dtype=np.float64)
    return found


def _scatter(places: dict[str, Floats], all_: Floats, names: tuple[str, str], title: str) -> str:
    figure, axes = figure_of(400, 330, 11, left=50, right=10, top=8, bottom=42)
    for group, table in places.items():
        _, mark, color, filled = GROUPS[group]
        fill = color if filled else "none"
        axes.plot(table[:, 0], table[:, 1], mark, ms=4.2, mfc=fill, mec=color, mew=0.9, alpha=0.8, linestyle="none")
    low, high = all_.min(axis=0), all_.max(axis=0)
    margin = 0.05 * np.maximum(high - low, 1e-6)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.locator_params(nbins=5)
    return svg_of(figure, title)


def exceeding(similarities: Sequence[float], thresholds: Sequence[float]) -> list[float]:
    """The share of similarities above each threshold."""
    ordered = np.sort(np.asarray(similarities, dtype=np.float64))
    above = len(ordered) - np.searchsorted(ordered, np.asarray(thresholds), side="right")
    shares: list[float] = (above / len(ordered)).tolist()
    return shares


def memorisation_chart(corpora: Sequence[CorpusPoints], title: str) -> dict[str, Any] | None:
    """The share of texts whose similarity to the nearest reference exceeds a threshold, over the threshold.

    A line for each corpus, six at most, and a dashed one for held-out texts, of which a smaller corpus is compared
    with fewer: the floor is of the most. None without a text.
    """
    drawn = [corpus for corpus in corpora if corpus.nearest["synthetic"]]
    if not drawn:
        return None
    thresholds = np.linspace(0.0, 1.0, _THRESHOLDS).tolist()
    figure, axes = figure_of(400, 270, 11, left=56, right=14, top=10, bottom=44)
    legend = []
    for series, corpus in enumerate(drawn[:LINES]):
        near = corpus.nearest["synthetic"]
        shares = [100 * share for share in exceeding(near, thresholds)]
        axes.plot(thresholds, shares, color=SERIES[series], linewidth=1.7)
        legend.append({"label": f"{', '.join(corpus.labels)} ({len(near)})", "series": series, "dashed": False})
    floor = max((corpus.nearest["heldout"] for corpus in drawn), key=len)
    if floor:
        shares = [100 * share for share in exceeding(floor, thresholds)]
        axes.plot(thresholds, shares, color=INK, linewidth=1.3, linestyle=(0, (4, 2.5)))
        legend.append({"label": f"held-out ({len(floor)})", "series": None, "dashed": True})
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 103)
    axes.set_xlabel("similarity to the nearest reference")
    axes.set_ylabel("texts above it, %")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.locator_params(nbins=5)
    return {"svg": Markup(svg_of(figure, title)), "lines": legend, "left_out": max(0, len(drawn) - LINES)}
