"""The site: every page has its place, pictures are small, and the whole builds without a broken link."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import domino_lightning

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_written_or_made_is_in_the_navigation(hooks: Any) -> None:
    placed = set(re.findall(r"[\w/]+\.md", NAVIGATION))
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert placed == written | {name for name, _ in hooks.pages()}


def test_every_face_of_the_package_has_a_page_in_the_reference(hooks: Any) -> None:
    faces = {
        path.parent.name
        for path in (ROOT / "domino_lightning").glob("*/__init__.py")
        if "__all__" in path.read_text(encoding="utf-8")
    }
    inner = {"data", "reporting", "stages"}  # no configuration names what is in them
    assert faces - inner == set(hooks.FACES) - {"domino_lightning", "testing"}


def test_links_that_leave_the_pages_are_pointed_at_what_stands_for_them(hooks: Any) -> None:
    text = "[a](../domino_lightning/defaults.yaml) [b](../notebooks/01_x.ipynb) [c](02_y.ipynb) [d](../nowhere.txt)"
    expected = "[a](defaults.md) [b](notebooks/01_x.md) [c](02_y.md) [d](../nowhere.txt)"
    assert hooks.on_page_markdown(text) == expected


def test_a_notebook_becomes_text_and_code(hooks: Any, tmp_path: Path) -> None:
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]}, {"cell_type": "code", "source": ["1 + 1"]}]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": cells}))
    assert hooks.notebook(tmp_path / "x.ipynb") == "# A\nb\n\n```python\n1 + 1\n```\n"


def test_pictures_are_small_and_used() -> None:
    pictures = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert all(size < 150_000 for size in pictures.values()), pictures
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    assert set(re.findall(r"\(pictures/([\w.]+)\)", pages)) == set(pictures)


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == domino_lightning.__version__
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2605.30039"
    assert {"type", "title", "authors"} <= citation["preferred-citation"].keys()


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Continuous integration builds it by `make docs`, whose packages are an extra of their own."""
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "api" / "losses" / "index.html").read_text(encoding="utf-8")
    assert "domino_lightning.losses.InfoNCE" in reference
