"""Charts as inline SVG that take their colors from the page, light or dark."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib knows no CSS: it draws in these colors, which are replaced in the text of the SVG.
INK, GRID, PAPER = "#010203", "#040506", "#070809"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
MARKS = ("o", "s", "^", "D", "v", "P")  # beside the colors, for readers who cannot tell those apart
_CSS = {INK: "currentColor", GRID: "var(--rule)", PAPER: "var(--paper)"} | {
    color: f"var(--s{index})" for index, color in enumerate(SERIES)
}
_DPI = 72  # one SVG unit is one CSS pixel
_MAX_POINTS = 500


@dataclass(frozen=True)
class Line:
    """One curve: (step, value) points in color number `series` (modulo 6)."""

    label: str
    points: Sequence[tuple[int, float]]
    series: int = 0
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Interval:
    """One arm: a share in [0, 1], its interval where there is one, drawn hollow or filled."""

    label: str
    value: float
    low: float | None
    high: float | None
    hollow: bool = False


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


def curves(lines: Sequence[Line], y_label: str, title: str, mark: tuple[int, float] | None = None) -> str:
    """An SVG of curves over optimizer steps, 400 by 250 pixels; empty where no value is finite.

    Args:
        lines: what to draw; a line of more than 500 points is thinned to 500, its ends kept.
        y_label: name and unit of the y axis.
        title: the text alternative for readers who do not see the chart.
        mark: a point to ring.
    """
    from matplotlib.ticker import MaxNLocator

    drawn = [(line, _finite(line.points)) for line in lines]
    if not any(points for _, points in drawn):
        return ""
    figure, axes = figure_of(400, 250, 11, left=56, right=12, top=10, bottom=42)
    for line, points in drawn:
        axes.plot(
            [step for step, _ in points],
            [value for _, value in points],
            color=SERIES[line.series % len(SERIES)],
            linestyle=(0, (4, 2.5)) if line.dashed else "solid",
            linewidth=1.6,
            marker="o" if line.dots or len(points) == 1 else None,
            markersize=3.6,
        )
    if mark is not None:
        axes.plot(*mark, marker="o", color=INK, ms=9, mfc="none", mew=1.2)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(y_label)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.locator_params(axis="y", nbins=5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return svg_of(figure, title)


def intervals(rows: Sequence[Interval], width: int, title: str) -> str:
    """An SVG with a dot and a whisker for every arm; narrow ones (below 560 pixels) have labels above."""
    if not rows:
        return ""
    narrow = width < 560
    row_height, longest = (48 if narrow else 34), max(len(short(row.label)) for row in rows)
    left = 14 if narrow else min(330, 24 + 7.4 * longest)
    height = 54 + row_height * len(rows)
    figure, axes = figure_of(width, height, 13, left=left, right=20, top=8, bottom=46)
    for index, row in enumerate(rows):
        y = len(rows) - 1 - index
        if row.low is not None and row.high is not None:
            axes.plot([100 * row.low, 100 * row.high], [y, y], color=SERIES[0], linewidth=2)
            for end in (row.low, row.high):
                axes.plot([100 * end] * 2, [y - 0.1, y + 0.1], color=SERIES[0], linewidth=2)
        fill = PAPER if row.hollow else SERIES[0]
        axes.plot(100 * row.value, y, "o", ms=8, mfc=fill, mec=SERIES[0], mew=1.8, clip_on=False, zorder=5)
        if narrow:
            axes.text(0, y + 0.27, short(row.label), parse_math=False, color=INK, size=13, va="bottom")
    top = max(value for row in rows for value in (row.value, row.high or 0.0))
    axes.set_xlim(0, min(100.0, max(5.0, 115 * top)))
    axes.set_ylim(-0.55, len(rows) - (0.25 if narrow else 0.45))
    axes.set_yticks([] if narrow else range(len(rows)))
    if not narrow:
        for text in axes.set_yticklabels([short(row.label) for row in reversed(rows)]):
            text.set_parse_math(False)
    axes.tick_params(axis="y", length=0, pad=10)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("pass@1, %")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return svg_of(figure, title)


def short(label: str, limit: int = 44) -> str:
    """A label cut to `limit` characters."""
    return label if len(label) <= limit else label[: limit - 1] + "…"


def _finite(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    kept = [point for point in points if math.isfinite(point[1])]
    if len(kept) <= _MAX_POINTS:
        return kept
    return [kept[round(place * (len(kept) - 1) / (_MAX_POINTS - 1))] for place in range(_MAX_POINTS)]


def figure_of(
    width: float, height: float, size: float, *, left: float, right: float, top: float, bottom: float
) -> tuple[Figure, Axes]:
    """A figure with margins and a text size in pixels, without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(labelcolor=INK, labelsize=size, length=3, color=GRID)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
        axis.label.set_fontsize(size)
    return figure, axes


def svg_of(figure: Figure, title: str) -> str:
    """The drawing as inline SVG; `title` is its text alternative."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's fonts draw the text, not matplotlib's
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_page(buffer.getvalue(), title)


def _for_page(svg: str, title: str) -> str:
    """The drawing without XML prologue, namespaces, fonts and names that a second chart would repeat."""
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r"font: ([^;\"]*?)([\d.]+px) [^;\"]*", r"font-size: \2", body)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    for color, replacement in _CSS.items():
        body = body.replace(color, replacement)
    opening = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title, quote=True)}" class="chart">'
    )
    return opening + re.sub(r"\n\s*", "\n", body).strip()


def forest(rows: Sequence[Effect], width: int, baseline: str, title: str) -> str:
    """An SVG with a dot and a whisker for every arm about a line at zero; narrow ones have labels above."""
    if not rows:
        return ""
    narrow = width < 560
    row_height, longest = (48 if narrow else 34), max(len(short(row.label)) for row in rows)
    left = 14 if narrow else min(330, 24 + 7.4 * longest)
    figure, axes = figure_of(width, 62 + row_height * len(rows), 13, left=left, right=20, top=8, bottom=54)
    ends = [abs(end) for row in rows for end in (row.low, row.high, row.value) if not math.isnan(end)]
    reach = max(1.0, *ends) * 1.12
    axes.axvline(0, color=INK, linewidth=1)
    for index, row in enumerate(rows):
        y = len(rows) - 1 - index
        color = SERIES[0] if row.strong else SERIES[5]
        if not math.isnan(row.low):
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
    axes.set_xlabel(f"pass@1 minus that of {short(baseline, 24 if narrow else 40)}, points", parse_math=False)
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
