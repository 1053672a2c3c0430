"""Charts of a sweep: differences from the baseline, and curves with bands over a numeric axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from domino_lightning.reporting.charts import GRID, INK, PAPER, SERIES, figure_of, short, svg_of

MARKS = ("o", "s", "^", "D", "v", "P")  # beside the colors, for readers who cannot tell those apart


@dataclass(frozen=True)
class Effect:
    """One arm's difference from the baseline in percentage points; `strong` where it is significant."""

    label: str
    value: float
    low: float
    high: float
    strong: bool


@dataclass(frozen=True)
class Band:
    """A curve over an axis: (x, mean, low, high), the ends NaN where there is no interval."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    series: int = 0


def forest(rows: Sequence[Effect], width: int, baseline: str, title: str) -> str:
    """An SVG with a dot and a whisker for every arm about a line at zero; narrow ones have labels above."""
    if not rows:
        return ""
    narrow = width < 560
    row_height, longest = (48 if narrow else 34), max(len(short(row.label)) for row in rows)
    left = 14 if narrow else min(330, 24 + 7.4 * longest)
    figure, axes = figure_of(width, 62 + row_height * len(rows), 13, left=left, right=20, top=8, bottom=54)
    reach = max(1.0, *(abs(end) for row in rows for end in (row.low, row.high, row.value) if not isnan(end))) * 1.12
    axes.axvline(0, color=INK, linewidth=1)
    for index, row in enumerate(rows):
        y = len(rows) - 1 - index
        color = SERIES[0] if row.strong else SERIES[5]
        if not isnan(row.low):
            axes.plot([row.low, row.high], [y, y], color=color, linewidth=2)
            for end in (row.low, row.high):
                axes.plot([end, end], [y - 0.1, y + 0.1], color=color, linewidth=2)
        fill = color if row.strong else PAPER
        axes.plot(row.value, y, "o", ms=8, mfc=fill, mec=color, mew=1.8, clip_on=False, zorder=5)
        if narrow:
            axes.text(-reach, y + 0.27, short(row.label), parse_math=False, color=INK, size=13, va="bottom")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-0.55, len(rows) - (0.25 if narrow else 0.45))
    axes.set_yticks([] if narrow else range(len(rows)))
    if not narrow:
        for text in axes.set_yticklabels([short(row.label) for row in reversed(rows)]):
            text.set_parse_math(False)
    axes.tick_params(axis="y", length=0, pad=10)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"pass@1 minus that of {short(baseline, 28 if narrow else 60)}, points", parse_math=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return svg_of(figure, title)


def bands(lines: Sequence[Band], x_label: str, y_label: str, title: str) -> str:
    """An SVG of means over a numeric axis with their 95% intervals as bands, 400 by 270 pixels."""
    drawn = [(line, sorted(line.points)) for line in lines if line.points]
    xs = sorted({point[0] for _, points in drawn for point in points})
    if len(xs) < 2:
        return ""
    figure, axes = figure_of(400, 270, 11, left=56, right=14, top=10, bottom=44)
    for line, points in drawn:
        color = SERIES[line.series % len(SERIES)]
        x, mean, low, high = zip(*points, strict=True)
        marker = MARKS[line.series % len(MARKS)]
        axes.plot(x, mean, color=color, linewidth=1.7, marker=marker, markersize=5)
        # A value without an interval leaves a gap in the band.
        axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
    if xs[0] > 0 and xs[-1] / xs[0] >= 16:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(xs if len(xs) <= 7 else [xs[0], xs[len(xs) // 2], xs[-1]])
    axes.set_xticklabels([f"{x:g}" for x in (xs if len(xs) <= 7 else [xs[0], xs[len(xs) // 2], xs[-1]])])
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.locator_params(axis="y", nbins=5)
    return svg_of(figure, title)
