"""From a context to files: templates, number formats, CSV, and writing that nobody sees half done."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.utils import progress
from domino_lightning.utils.atomic import atomic_write

GENERATOR = "domino_lightning"
_MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
_HEAD = 4096  # bytes, of which the mark is among the first


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """A template of this package with its context, as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("domino_lightning.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    formats = (percent, points, fixed, count, duration, when, p_value)
    environment.globals["generator"] = GENERATOR
    environment.filters |= {function.__name__: function for function in formats}
    # Lone surrogates are legal in JSON text and cannot be written as UTF-8.
    page = environment.get_template(template).render(context)
    return page.encode("utf-8", "replace").decode("utf-8")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; the columns are the keys of all rows, in the order in which they first come."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    writer.writerow({name: _cell(name) for name in names})
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers, in text too."""
    value = value.replace("\r", "\n") if isinstance(value, str) else value  # csv quotes one and not the other
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_report_files(page: Path, html: str, tables: Mapping[str, str]) -> None:
    """Write a page and the tables beside it, each file whole or not at all, making directories.

    An older page of ours is replaced, and its tables with it. A table without its page is known by its first columns.

    Args:
        page: where the page goes.
        html: the page, by `render_page`.
        tables: texts by the names of their files.

    Raises:
        UserError: a directory that cannot be written to, or a file that no report of ours has left there.
    """
    texts = {page: html} | {page.parent / name: text for name, text in tables.items()}
    if not _is_ours(page):
        for path in (path for path, text in texts.items() if os.path.lexists(path) and not _is_table(path, text)):
            raise UserError(
                f"{path}: is there, and not known as a report of this version of domino, so it is not written over. "
                "Move it away, or name another directory."
            )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(text.encode("utf-8", "replace"))
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            reason = error.strerror or "not a directory"
            raise UserError(f"{path.parent}: cannot write a report here ({reason}). Name another directory.") from None


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:
        return False


def _is_table(path: Path, text: str) -> bool:
    """Whether a file begins with the columns that a table of ours begins with; there may be more by the version."""
    columns = ",".join(text.partition("\n")[0].split(",")[:3]).encode()
    try:
        with path.open("rb") as file:
            return path.suffix == ".csv" and file.read(_HEAD).startswith(columns)
    except OSError:
        return False


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of digits after the point."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands."""
    return "–" if value is None else f"{int(value):,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    """Seconds as `progress.duration` writes them."""
    return "–" if seconds is None else progress.duration(seconds)


def when(stamp: str) -> str:
    """An ISO 8601 time to the minute; other text as it is."""
    if len(stamp) < 16 or stamp[10] != "T":
        return stamp
    return f"{stamp[:10]} {stamp[11:16]}" + (" UTC" if stamp.endswith(("Z", "+00:00")) else "")


def points(difference: float | None) -> str:
    """A difference of shares as signed percentage points."""
    return "–" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """A p value to three digits, never as zero; a dash for none."""
    return "–" if p is None or isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
