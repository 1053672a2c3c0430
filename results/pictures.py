"""The pictures of docs/results.md, drawn from the rows beside this file: `python -m results.pictures docs/pictures`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from domino_lightning.evaluation.crossed import difference_interval, lent
from domino_lightning.evaluation.statistics import independent_mean
from results.rows import BASELINE, NAMES, WRITERS, read_csv, table, values

Rows = Sequence[tuple[str, float, float, float]]  # label, value, low, high


def _intervals(rows: Rows, x_label: str, title: str, path: Path, zero: float | None = 0.0) -> None:
    import matplotlib
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
    axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})


def draw(folder: Path) -> None:
    """One picture a question."""
    gains = {name: table(name, BASELINE) for name in NAMES if name != BASELINE}
    scored = []
    for name, one in gains.items():
        mean = one.difference(lent(gains.values()))
        low, high = difference_interval(mean)
        scored.append((NAMES[name], 100 * float(mean.value), 100 * float(low), 100 * float(high)))
    label = "points of pass@1 over DOMINO with likelihood alone, 95% intervals"
    _intervals(scored, label, "The coder", folder / "results_arms.svg")
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
