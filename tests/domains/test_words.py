"""A domain without code: no page, card, plan, preview or verdict speaks of functions, programs or their execution."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from domino_lightning.cli.main import main

WORDS = re.compile(r"\b(functions?|programs?|execut\w*)\b", re.IGNORECASE)


def spoken(text: str, where: str) -> list[str]:
    """Where a text has one of the words, with what stands around it."""
    return [f"{where}: …{text[max(0, m.start() - 60) : m.end() + 40]}…" for m in WORDS.finditer(text)]


def page_text(page: str) -> str:
    """What a reader of an HTML page sees."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL | re.IGNORECASE)
    shown = html.unescape(re.sub(r"<[^>]+>", " ", bare))
    return "\n".join(line for line in shown.splitlines() if "class_path:" not in line)  # of the configuration


@pytest.mark.slow
def test_nobody_speaks_of_programs_where_there_are_none(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "trivia.yaml", "--smoke", "--trial", "t"]) == 0
    trial = project / "outputs" / "smoke" / "runs" / "trivia" / "t"
    assert main(["report", str(trial), "--output", str(project / "page")]) == 0
    printed = capsys.readouterr()
    found = spoken(printed.out + printed.err, "what run and report print")
    found += spoken(page_text((project / "page" / "report.html").read_text(encoding="utf-8")), "report.html")
    for path in sorted(trial.rglob("*")):
        if path.is_file() and path.suffix in {".md", ".jsonl", ".csv"} and "model" not in path.parts:
            found += spoken(path.read_text(encoding="utf-8"), str(path.relative_to(trial)))
    assert not found, "\n".join(found)
