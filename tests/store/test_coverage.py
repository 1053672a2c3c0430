"""User code that is loaded is the one that the fingerprint covers, or the stage is refused."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from domino_lightning.errors import Changed, UserError
from domino_lightning.store.coverage import check_covered, check_loaded, check_sources, look_ahead
from domino_lightning.store.sources import user_sources
from tests.store.conftest import Write


def node(path: str) -> dict[str, Any]:
    return {"model": {"loss": {"class_path": path, "init_args": {}}}}


def hashes(section: Any) -> dict[str, str]:
    return {name: source.sha256 for name, source in user_sources(section).items()}


def test_a_source_that_changed_after_planning_is_named(write: Write) -> None:
    write("planned.py", "import planned_helper\nclass Loss: ...\n")
    helper = write("planned_helper.py", "A = 1\n")
    section = node("planned.Loss")
    planned = hashes(section)
    check_sources("tune", section, planned)
    helper.write_text("A = 2\n")
    with pytest.raises(Changed, match=r"tune: .*planned_helper\.py changed after this run was planned"):
        check_sources("tune", section, planned)
    helper.unlink()
    with pytest.raises(Changed, match="module planned_helper"):
        check_sources("tune", section, planned)


def test_a_module_may_be_edited_once_it_is_loaded(write: Write) -> None:
    path = write("loaded_fork.py", "class Loss: ...\n")
    section = node("loaded_fork.Loss")
    planned = hashes(section)
    importlib.import_module("loaded_fork")
    check_sources("tune", section, planned)
    path.write_text("import json\nclass Loss: ...\n")
    check_sources("tune", section, planned)  # what runs is what was planned
    with pytest.raises(Changed, match=r"loaded_fork\.py"):
        check_sources("tune", section, hashes(section))  # planned anew, but the old module still runs
    importlib.reload(sys.modules["loaded_fork"])
    check_sources("tune", section, hashes(section))


def holding(value: Any) -> object:
    """Something that holds a value deep within, as a stage does."""
    return SimpleNamespace(parts={"loss": [value]})


def covered(module: str, name: str) -> None:
    """Load a class as a section does that names it, and look whether the fingerprint covers what it brought in."""
    found = look_ahead(node(f"{module}.{name}"))
    instance = holding(getattr(importlib.import_module(module), name)())
    check_loaded("tune", found)
    check_covered("tune", instance, found)


def test_an_object_whose_source_no_class_path_reaches_is_refused(write: Write) -> None:
    write("hidden_fork.py", "class Schedule: ...\n")
    instance = holding(importlib.import_module("hidden_fork").Schedule())
    check_covered("tune", instance, user_sources(node("hidden_fork.Schedule")))
    with pytest.raises(UserError, match=r"tune: uses 'Schedule' of .*hidden_fork\.py.*`import hidden_fork`"):
        check_covered("tune", instance, {})


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nNAME = 'unseen'\nBase = importlib.import_module(NAME).Base\n",
        "from importlib import import_module as load\nBase = load('unseen').Base\n",
        "import pkgutil\nBase = pkgutil.resolve_name('unseen:Base')\n",
        "import sys, os\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\nfrom inner import Base\n",
        "import importlib.util as u, os, sys\n"
        "spec = u.spec_from_file_location('other', os.path.join(os.path.dirname(__file__), 'unseen.py'))\n"
        "sys.modules['other'] = made = u.module_from_spec(spec)\nspec.loader.exec_module(made)\nBase = made.Base\n",
    ],
)
def test_a_module_that_is_loaded_in_a_way_that_cannot_be_read_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("unseen.py", "class Base: ...\n")
    write("lib/inner.py", "class Base: ...\n")
    write("sly_fork.py", f"{text}class Loss(Base): ...\n")
    for _ in range(2):  # and again, now that it is loaded and can be found
        with pytest.raises(UserError, match=r"tune: .*(unseen|inner)\.py was loaded.*`import \1`.*PYTHONPATH"):
            covered("sly_fork", "Loss")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("exec(open(FILE).read())\nLoss = Made\n", "'Made' of 'run_fork'"),
        ("exec(compile(open(FILE).read(), FILE, 'exec'))\nLoss = Made\n", r"'Made' of .*made\.txt"),
        ("import runpy\nLoss = runpy.run_path(FILE)['Made']\n", r"'Made' of .*made\.txt"),
        ("import runpy\nLoss = runpy.run_path(FILE)['Bare']\n", "'Bare' of '<run_path>'"),
        (
            "import types\nmade = types.ModuleType('thin_air')\nexec(open(FILE).read(), made.__dict__)\n"
            "Loss = made.Made\n",
            "'Made' of 'thin_air'",
        ),
    ],
)
def test_a_class_out_of_text_that_is_run_is_refused(write: Write, text: str, named: str) -> None:
    file = write("made.txt", "class Bare:\n    value = 1\nclass Made:\n    def call(self): ...\n")
    write("run_fork.py", f"FILE = {str(file)!r}\n{text}")
    with pytest.raises(UserError, match=f"tune: uses {named}"):
        covered("run_fork", "Loss")


def test_classes_that_python_writes_itself_are_covered_by_their_module(write: Write) -> None:
    text = (
        "import importlib\nfrom collections import namedtuple\n"
        "from dataclasses import dataclass\nfrom enum import Enum\n"
        "json = importlib.import_module('js' + 'on')\n\n\n@dataclass\nclass Point:\n    x: int = 0\n\n\n"
        "Pair = namedtuple('Pair', 'a b')\n\n\nclass Kind(Enum):\n    ONE = 1\n\n\n"
        "class Loss:\n    def __init__(self):\n"
        "        self.all = [Point(), Pair(1, 2), Kind.ONE, lambda: 1, json.JSONDecoder(), min, [].append]\n"
    )
    write("written_fork.py", text)
    covered("written_fork", "Loss")


def test_what_was_loaded_before_or_without_code_of_the_users_is_not_looked_at(write: Write) -> None:
    for name in ("notebook_helper", "late_helper"):
        write(f"{name}.py", "A = 1\n")
    write("own_fork.py", "class Loss: ...\n")
    importlib.import_module("notebook_helper")
    covered("own_fork", "Loss")
    importlib.import_module("late_helper")
    check_loaded("tune", look_ahead(node("domino_lightning.losses.InfoNCE")))
    with pytest.raises(UserError, match=r"late_helper\.py was loaded"):
        covered("own_fork", "Loss")
