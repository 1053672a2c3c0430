"""Tables that a spreadsheet opens."""

from __future__ import annotations

import csv
import io

import pytest

from domino_lightning.reporting.html import csv_text


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "--1"])
def test_no_cell_is_a_formula(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"a": text}]), newline=""))
    text = text.replace("\r", "\n")
    assert row == {"a": f"'{text}"}
    (header, _) = csv.reader(io.StringIO(csv_text([{text: "x"}]), newline=""))
    assert header == [f"'{text}"]


@pytest.mark.parametrize("value", ["-1.5", "+3", "-inf", "1e-3", -2, -0.5, "a=b", "x-y", ""])
def test_numbers_and_other_texts_stay_as_they_are(value: object) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"a": value}]), newline=""))
    assert row == {"a": str(value)}
