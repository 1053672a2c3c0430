"""Tables that a spreadsheet opens, and files that are written over only where they are a report's."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.reporting import html
from domino_lightning.reporting.html import GENERATOR, csv_text, write_report_files

OURS = f'<html><meta name="generator" content="{GENERATOR}">'


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


def test_a_report_is_written_again_and_with_it_its_tables(tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    for number in range(2):
        write_report_files(page, OURS + str(number), {"results.csv": f"a\n{number}\n"})
    assert page.read_text().endswith("1") and (page.parent / "results.csv").read_text() == "a\n1\n"


@pytest.mark.parametrize("name", ["report.html", "results.csv"])
def test_a_file_that_no_report_has_left_is_named_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>months of notes</html>")
    with pytest.raises(UserError, match=rf"{name}: is there, and not known as a report of this version.*Move it away"):
        write_report_files(tmp_path / "report.html", OURS, {"results.csv": "a\n"})
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "<html>months of notes</html>")]


def test_a_table_without_its_page_is_known_by_its_first_columns(tmp_path: Path) -> None:
    table = {"results.csv": "experiment,trial,status,error\na,b,finished,\n"}
    (tmp_path / "results.csv").write_text("experiment,trial,status,fewer\n")
    write_report_files(tmp_path / "report.html", OURS, table)
    assert (tmp_path / "results.csv").read_text() == table["results.csv"]
    (tmp_path / "report.html").unlink()
    (tmp_path / "results.csv").write_text("trial,status\n")
    with pytest.raises(UserError, match="results.csv: is there"):
        write_report_files(tmp_path / "report.html", OURS, table)


@pytest.mark.parametrize("template", ["report.html.j2", "sweep.html.j2"])
def test_every_page_has_the_mark_that_it_is_known_by(template: str) -> None:
    source = (Path(html.__file__).parent / template).read_text()
    assert '<meta name="generator" content="{{ generator }}">' in source.partition("<title>")[0]
