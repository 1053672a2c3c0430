"""What the SVG of a chart may and may not contain."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from domino_lightning.reporting.charts import Interval, Line, curves, intervals

POINTS = [(0, 2.0), (10, 1.0), (20, 1.5)]
CHARTS = {
    "curves": lambda: curves([Line("a", POINTS), Line("b", POINTS, 1, dashed=True, dots=True)], "nats", "t", (10, 1.0)),
    "wide": lambda: intervals([Interval("a", 0.2, 0.1, 0.3), Interval("b", 0.4, None, None, hollow=True)], 760, "t"),
    "narrow": lambda: intervals([Interval("a", 0.2, 0.1, 0.3)], 380, "t"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_take_colors_and_fonts_from_the_page(name: str) -> None:
    svg = CHARTS[name]()
    assert "currentColor" in svg and "var(--s0)" in svg
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "font-family" not in svg and "DejaVu" not in svg
    ElementTree.fromstring(svg)  # well formed


@pytest.mark.parametrize("name", CHARTS)
def test_charts_name_nothing_outside_themselves(name: str) -> None:
    svg = CHARTS[name]()
    assert "://" not in svg and "<style" not in svg and "<!--" not in svg
    names = set(re.findall(r'id="([^"]+)"', svg))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= names


def test_two_charts_share_no_names() -> None:
    first, second = (curves([Line("a", POINTS, dots=True)], "nats", title) for title in ("one", "two"))
    assert not set(re.findall(r'id="([^"]+)"', first)) & set(re.findall(r'id="([^"]+)"', second))


def test_a_chart_is_the_same_when_drawn_again() -> None:
    assert CHARTS["curves"]() == CHARTS["curves"]()


def test_nothing_finite_is_no_chart() -> None:
    assert curves([Line("a", [(0, float("nan"))]), Line("b", [])], "nats", "t") == ""
    assert intervals([], 760, "t") == ""


def test_labels_are_escaped_and_are_not_mathematics() -> None:
    svg = intervals([Interval("<script>$x_1$</script>", 0.2, 0.1, 0.3)], 760, "t")
    assert "&lt;script&gt;$x_1$&lt;/script&gt;" in svg
    assert "<script" not in svg


def test_only_a_hollow_dot_is_filled_with_the_paper() -> None:
    assert "var(--paper)" in intervals([Interval("a", 0.2, 0.1, 0.3, hollow=True)], 760, "t")
    assert "var(--paper)" not in intervals([Interval("a", 0.2, 0.1, 0.3)], 760, "t")


def test_a_long_curve_is_thinned() -> None:
    zigzag = [(step, float(step % 2)) for step in range(20_000)]
    assert len(curves([Line("a", zigzag)], "nats", "t")) < 40_000
