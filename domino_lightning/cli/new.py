"""domino new."""

from __future__ import annotations

import argparse
import keyword
import re
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template

from domino_lightning.cli.console import make_console
from domino_lightning.errors import UserError

_ENDING = ".tmpl"


def new(arguments: argparse.Namespace) -> int:
    """Write a project: a domain, its data, an experiment, a sweep, a test and a README."""
    folder: Path = arguments.project
    names = project_names(folder.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already, and not empty. Give the name of a new folder.")
    written = write_project(folder, {**names, "kind": arguments.domain})
    console = make_console()
    console.print(f"{folder}: a project of {len(written)} files.", highlight=False, soft_wrap=True)
    for name in written:
        console.print(f"  {name}", highlight=False)
    console.print(
        f"Next: domino run {folder / 'experiment.yaml'} --smoke, then README.md.", highlight=False, soft_wrap=True
    )
    return 0


def project_names(name: str) -> dict[str, str]:
    """The names of a project, its module and its class.

    Raises:
        UserError: a name of which no module's can be made.
    """
    slug = name.replace("-", "_").lower()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or keyword.iskeyword(slug):
        raise UserError(f"project '{name}': a name has letters, digits, _ and -, and begins with a letter.")
    class_name = "".join(part.capitalize() for part in slug.split("_"))
    return {"name": slug, "module": f"{slug}_domain", "class_name": class_name}


def write_project(folder: Path, names: dict[str, str]) -> list[str]:
    """Fill in the templates of a kind; the names of the files. What was begun is removed when that fails."""
    templates = Path(str(files("domino_lightning") / "templates"))
    renamed = {"domain.py": f"{names['module']}.py", "test.py": f"test_{names['module']}.py"}
    rooms = (templates / "common", templates / names["kind"])  # what a kind has of its own comes first
    found = {path.name: path for room in rooms for path in room.iterdir()}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        for path in sorted(path for path in found.values() if path.name.endswith(_ENDING)):
            name = path.name.removesuffix(_ENDING)
            text = Template(path.read_text(encoding="utf-8")).substitute(names)
            (folder / renamed.get(name, name)).write_text(text, encoding="utf-8")
            written.append(renamed.get(name, name))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return sorted(written)
