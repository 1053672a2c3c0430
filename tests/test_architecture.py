"""The house: a folder imports only from the folders below it, no file imports in a circle, nothing lies loose."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import domino_lightning
from domino_lightning import domains

PACKAGE = Path(domino_lightning.__file__).parent
NAME = PACKAGE.name
# From what everything rests on to what a user types: docs/architecture.md says what each holds.
ORDER = (
    "errors",
    "utils",
    "config",
    "execution",
    "store",
    "losses",
    "domains",
    "models",
    "tracking",
    "data",
    "generation",
    "nn",
    "modules",
    "callbacks",
    "synthesis",
    "evaluation",
    "curation",
    "stages",
    "results",
    "runner",
    "planning",
    "sweep",
    "reporting",
    "release",
    "testing",
    "__init__",  # the Python API: open_run, open_sweep
    "cli",
    "__main__",
)
DATA = {"corpus", "templates"}  # folders that hold data and no code


def modules() -> dict[str, Path]:
    """Dotted names of all modules; a package is its `__init__`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = [NAME, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The folder or loose file at the top of the package that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(module: str, everywhere: bool = True) -> Iterator[str]:
    """Modules of the package that a module imports, those for type checkers and inside functions among them.

    Args:
        module: dotted name.
        everywhere: else only what is executed when the module is imported.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if everywhere else list(at_import(tree))
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == NAME:
                yield name if name in MODULES else name.rpartition(".")[0]


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from at_import(node)


def test_every_import_is_of_a_module_that_is_there() -> None:
    missing = [(module, name) for module in MODULES for name in imports(module) if name not in MODULES]
    assert missing == []


def test_nothing_lies_loose_and_every_folder_has_its_place() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", "errors", "testing"}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - DATA == set(ORDER) - loose


@pytest.mark.parametrize("name", ORDER)
def test_a_folder_imports_only_from_below(name: str) -> None:
    above = ORDER[ORDER.index(name) + 1 :]
    upward = sorted(
        f"{module} imports {found}"
        for module in MODULES
        if room(module) == name
        for found in imports(module)
        if room(found) in above
    )
    assert upward == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """Counting imports inside functions and for type checkers; a folder's face may name what lies in it."""
    graph = {
        module: {name for name in imports(module) if name != module and not module.startswith(f"{name}.")}
        for module in MODULES
    }
    while True:
        leaves = {module for module, names in graph.items() if not names & graph.keys()}
        if not leaves:
            break
        graph = {module: names for module, names in graph.items() if module not in leaves}
    assert sorted(graph) == []


def test_no_file_outside_of_domains_names_a_domain() -> None:
    """But for the default of the key `domain`; folders of data hold rows of domains, and templates of projects."""
    named = [getattr(domains, name) for name in domains.__all__]
    shipped = [each for each in named if isinstance(each, type) and issubclass(each, domains.Domain)]
    concrete = [each for each in shipped if not each.__abstractmethods__]
    assert len(concrete) >= 5
    words = re.compile(rf"\b(?:{'|'.join(each.__name__ for each in concrete)})\b")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in {".py", ".j2", ".yaml"} and path.relative_to(PACKAGE).parts[0] not in DATA | {"domains"}
        for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line)
    ]
    assert found == ["defaults.yaml: class_path: domino_lightning.domains.CodeExec"]
