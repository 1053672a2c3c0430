"""Each benchmark renews its own section of the performance page and leaves the others alone."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("_report")


def test_a_section_is_renewed_in_place_and_the_others_stay(report: Any, tmp_path: Path) -> None:
    docs = tmp_path / "performance.md"
    for name, text in (("one", "## One\nold"), ("two", "## Two"), ("one", "## One\nnew")):
        report.write_section(docs, name, text)
    text = docs.read_text()
    assert text.startswith("# Performance\n")
    assert "old" not in text
    assert text.index("## One\nnew") < text.index("## Two")
    assert text.count("<!-- one -->") == text.count("<!-- /one -->") == text.count("<!-- two -->") == 1


def test_text_written_by_hand_around_the_sections_is_kept(report: Any, tmp_path: Path) -> None:
    docs = tmp_path / "performance.md"
    docs.write_text("# Performance\n\nby hand\n\n<!-- one -->\nold\n<!-- /one -->\n\nafter\n")
    report.write_section(docs, "one", "new")
    assert docs.read_text() == "# Performance\n\nby hand\n\n<!-- one -->\nnew\n<!-- /one -->\n\nafter\n"


@pytest.mark.parametrize("quick", [True, False])
def test_only_a_full_run_touches_the_docs_and_both_write_json(
    report: Any, tmp_path: Path, quick: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    docs, numbers = tmp_path / "performance.md", tmp_path / "new" / "numbers.json"
    flags = report.parser("x").parse_args(["--json", str(numbers), *(["--quick"] if quick else [])])
    report.publish("speed", "Speed", "a table", {"cases": [1]}, flags, docs)
    assert "a table" in capsys.readouterr().out
    assert json.loads(numbers.read_text())["cases"] == [1]
    assert docs.exists() is not quick
    if not quick:
        text = docs.read_text()
        assert "## Speed" in text
        assert "`python benchmarks/speed.py`" in text


def test_a_table_has_one_line_a_row_and_three_digits_a_float(report: Any) -> None:
    lines = report.table(["shape", "ratio"], [["a", 1.23456], ["bb", 2]]).splitlines()
    assert lines == ["| shape | ratio |", "|------:|------:|", "|     a |  1.23 |", "|    bb |     2 |"]
