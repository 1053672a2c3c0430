"""The pictures of docs/results.md, drawn from the rows beside this file: `python -m results.pictures docs/pictures`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from domino_lightning.evaluation.crossed import lent
from domino_lightning.evaluation.intervals import difference_interval
from domino_lightning.evaluation.statistics import independent_mean
from results.rows import BASELINE, NAMES, SIZES, WRITERS, arms, read_csv, table, values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[tuple[str, float, float, float]]  # label, value, low, high


def _save(figure: Figure, path: Path) -> None:
    import matplotlib

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})


def _intervals(rows: Rows, x_label: str, title: str, path: Path, zero: float | None = 0.0) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, value, low, high) in enumerate(reversed(rows)):
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color="#1f6fb4", capsize=3)
    if zero is not None:
        axes.axvline(zero, color="#888888", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.set_xlabel(x_label)
    axes.set_title(title, fontsize=10, loc="left")
    _save(figure, path)


def _over(pairs: Mapping[str, tuple[str, str]], sweep: str) -> Rows:
    """Label → arm and baseline, as differences of pass@1 in points."""
    gains = {label: table(*arms, sweep) for label, arms in pairs.items()}
    loan = lent(gains.values())
    ends = {label: (one.value, *difference_interval(one, loan)) for label, one in gains.items()}
    return [(label, *(100 * float(end) for end in three)) for label, three in ends.items()]


def _corpora(path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.0), layout="constrained")
    shown = {"reference_similarity": "similarity to the nearest reference", "support": "support of held-out functions"}
    for axes, (metric, label) in zip(figure.subplots(1, 2, sharey=True), shown.items(), strict=True):
        found = [(fmean(values(name, f"answer/pairs/{metric}").values()), table(name), NAMES[name]) for name in WRITERS]
        for place, (x, one, name) in enumerate(sorted(found, key=lambda row: float(row[1].value))):
            y, label_at = 100 * float(one.value), (5, -9 if place % 2 else 4)  # neighbours' labels apart
            axes.plot(x, y, "o", color="#1f6fb4")
            axes.annotate(name.removeprefix("DOMINO, "), (x, y), label_at, textcoords="offset points", fontsize=7)
        axes.set_xlabel(label)
        axes.margins(x=0.25)
    figure.axes[0].set_ylabel("pass@1, %")
    _save(figure, path)


def draw(folder: Path) -> None:
    """One picture a question."""
    label = "points of pass@1 over DOMINO with likelihood alone, 95% intervals"
    for sweep, file in (("evidence", "results_arms"), ("evidence_embedded", "results_embedded")):
        scored = {NAMES[name]: (name, BASELINE) for name in NAMES if name != BASELINE and name in arms(sweep)}
        _intervals(_over(scored, sweep), label, "The coder", folder / f"{file}.svg")
    label = "points of pass@1, InfoNCE less likelihood alone, 95% intervals"
    scored = {f"{size} references": (both["infonce"], both["likelihood"]) for size, both in SIZES.items()}
    _intervals(_over(scored, "evidence_references"), label, "Contrast by references", folder / "results_references.svg")
    _corpora(folder / "results_corpora.svg")
    rows: dict[str, list[float]] = defaultdict(list)
    for row in read_csv("evidence_membership.csv"):
        rows[row["arm"]].append(float(row["nearest_is_reference"]))
    (floor,) = rows["real functions"]
    shares = [(NAMES[name], estimate.value, estimate.low, estimate.high)
              for name in WRITERS for estimate in [independent_mean(rows[name])]]  # fmt: skip
    label = "share of texts nearest to a reference; dashed: of real test functions"
    _intervals(shares, label, "Whose functions do they write?", folder / "results_probe.svg", floor)
    support = []
    for name in WRITERS[1:]:
        own, base = (values(each, "answer/pairs/support") for each in (name, BASELINE))
        estimate = independent_mean([own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())])
        support.append((NAMES[name], estimate.value, estimate.low, estimate.high))
    label = "support of held-out functions, less that under likelihood alone"
    _intervals(support, label, "Does the support expand?", folder / "results_support.svg")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
