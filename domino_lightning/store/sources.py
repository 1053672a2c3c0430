"""The user's code that a section brings in: every module that it reaches by class paths and imports, with its hash.

The fence: the standard library, this package and what it rests on are known by version and are no part of it. Modules
are found and read, never imported, so that planning stays light.
"""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.store.outline import Outline, outline
from domino_lightning.store.store import VERSIONED

KNOWN = {*sys.stdlib_module_names, *VERSIONED, "lightning_fabric", "pytorch_lightning"}
_INSTALLED = {Path(path).resolve() for name, path in sysconfig.get_paths().items() if name.endswith("lib")}
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_OPEN = {"*", "__getattr__"}  # names that bind others


class Source(NamedTuple):
    """A module's file and the hex sha256 of its bytes."""

    path: Path
    sha256: str


def user_sources(section: Any) -> dict[str, Source]:
    """Modules of the user's side that a section reaches, by dotted name.

    It reaches the module that a class path names, under `class_path` or as a plain text that names what a module
    binds, the packages around it, and what these import, transitively. Of an installed package only its own modules
    count. Where a name is bound, or a module imported, in a way that cannot be read, all modules of the package do.

    Raises:
        UserError: a class path whose module cannot be found.
    """
    importlib.invalidate_caches()
    reader = _Reader()
    for path, is_class in _dotted_names(section):
        reader.add(path, is_class)
    return dict(sorted(reader.found.items()))


def _dotted_names(node: Any, is_class: bool = False) -> Iterator[tuple[str, bool]]:
    """Texts of the section that may name a class, and whether they stand under `class_path`."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _dotted_names(value, key == "class_path")
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _dotted_names(value)
    elif isinstance(node, str) and _DOTTED.fullmatch(node):
        yield node, is_class


class _Reader:
    """Finds modules and follows what they import; one for a look, since files may change between two."""

    def __init__(self) -> None:
        self.found: dict[str, Source] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        self._outlines: dict[str, Outline] = {}

    def add(self, path: str, is_class: bool) -> None:
        """Follow the module that a dotted path names; text that is no class path only if a module binds its name."""
        top = path.partition(".")[0]
        if top in KNOWN:
            return
        parts, module = path.split("."), ""
        while parts and self.spec(f"{module}.{parts[0]}" if module else parts[0]) is not None:
            module = f"{module}.{parts.pop(0)}" if module else parts.pop(0)
        if not module:
            if is_class:
                raise UserError(
                    f"class_path '{path}': module '{path.rpartition('.')[0]}' is not found, neither "
                    "beside the experiment's YAML nor where `domino` or `python -m domino_lightning` is run. Move the "
                    "one to the other, or install it."
                )
            return
        owner, name = (module, parts[0]) if parts else (module.rpartition(".")[0], module.rpartition(".")[2])
        names = self.outline(owner).names if owner else frozenset()
        if not is_class and name not in names and _OPEN.isdisjoint(names):
            return
        self.follow(module, top)
        if name not in names:
            self.follow_all(module, top)

    def spec(self, module: str) -> ModuleSpec | None:
        """Where a module lies; None where there is none, or where this cannot be told without importing."""
        if module not in self._specs:
            self._specs[module] = self._find(module)
        return self._specs[module]

    def _find(self, module: str) -> ModuleSpec | None:
        path, (parent, _, name) = None, module.rpartition(".")
        if parent:
            above = self.spec(parent)
            if above is None or above.submodule_search_locations is None:
                return None
            path = list(above.submodule_search_locations)
        for finder in sys.meta_path:
            with suppress(ImportError, ValueError, AttributeError, KeyError):
                if (found := finder.find_spec(module, path, None)) is not None:
                    return found
        # A package without `__init__` in one that is not loaded: Python's finder asks the loaded one, a KeyError.
        folders = [str(folder) for each in path or () if (folder := Path(each, name)).is_dir()]
        if not folders:
            return None
        spec = ModuleSpec(module, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec

    def outline(self, module: str) -> Outline:
        """What a module's source says; nothing for one that is not Python, or not valid."""
        if module not in self._outlines:
            file = self._file(module)
            text = file.read_bytes() if file is not None and file.suffix == ".py" else b""
            self._outlines[module] = outline(text)
        return self._outlines[module]

    def _file(self, module: str) -> Path | None:
        """A module's file; None for a package without `__init__`."""
        spec = self.spec(module)
        file = Path(spec.origin) if spec is not None and spec.origin else None
        return file if file is not None and file.is_file() else None

    def follow(self, module: str, top: str) -> None:
        """Take in a module, the packages around it and what they import.

        Args:
            module: dotted name.
            top: the package that a class path names: what is installed counts in it alone.
        """
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if parent := name.rpartition(".")[0]:
                waiting.append(parent)
            file = self._file(name)
            if name in self.found or file is None or name.partition(".")[0] in KNOWN:
                continue
            if name.partition(".")[0] != top and is_installed(file):
                continue
            self.found[name] = Source(file, sha256(file.read_bytes()).hexdigest())
            read = self.outline(name)
            waiting += [target for each in read.imports for target in self._targets(name, *each)]
            if read.computed:
                waiting += self._modules(name.partition(".")[0])

    def follow_all(self, module: str, top: str) -> None:
        """Take in every module of a package, or of the package around a module."""
        spec = self.spec(module)
        package = module if spec is not None and spec.submodule_search_locations else module.rpartition(".")[0]
        for each in self._modules(package):
            self.follow(each, top)

    def _modules(self, package: str) -> list[str]:
        spec = self.spec(package) if package else None
        folders = (spec.submodule_search_locations if spec is not None else None) or []
        found = []
        for folder in map(Path, folders):
            for file in sorted(folder.rglob("*.py")):
                parts = [package, *file.relative_to(folder).with_suffix("").parts]
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        return found

    def _targets(self, importer: str, level: int, module: str, name: str) -> list[str]:
        """The modules that an import statement may load."""
        if level:
            spec = self.spec(importer)
            parts = importer.split(".")
            if spec is None or spec.submodule_search_locations is None:
                parts.pop()
            parts = parts[: len(parts) - level + 1]
            module = ".".join([*parts, *filter(None, [module])])
        if not module or module.partition(".")[0] in KNOWN:
            return []
        names = self.outline(module).exported if name == "*" else (name,) if name else ()
        return [module, *(f"{module}.{each}" for each in names if self.spec(f"{module}.{each}") is not None)]


def is_installed(file: Path) -> bool:
    """Whether a file lies where packages are installed, the standard library among them."""
    parents = file.resolve().parents
    return any(parent in _INSTALLED or parent.name in {"site-packages", "dist-packages"} for parent in parents)


def forget_compiled(sources: Mapping[str, Source]) -> None:
    """Remove the compiled form of sources: Python takes it for current by size and time, and hashes go by content."""
    for source in sources.values():
        if source.path.suffix == ".py":
            with suppress(OSError, NotImplementedError):
                Path(cache_from_source(str(source.path))).unlink()
