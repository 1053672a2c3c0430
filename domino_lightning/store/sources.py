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

from domino_lightning.errors import Changed, UserError
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
        path, parent = None, module.rpartition(".")[0]
        if parent:
            above = self.spec(parent)
            if above is None or above.submodule_search_locations is None:
                return None
            path = list(above.submodule_search_locations)
        for finder in sys.meta_path:
            with suppress(ImportError, ValueError, AttributeError):
                if (found := finder.find_spec(module, path, None)) is not None:
                    return found
        return None

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


_loaded: dict[str, tuple[Any, str]] = {}  # module → its spec and hash when it was first seen loaded


def check_sources(stage: str, section: Any, planned: Mapping[str, str]) -> None:
    """Refuse to go on where a module of the user's side is not the one that the fingerprint covers.

    What counts for a module that is loaded is its hash when that was first looked at, so it may be edited afterwards.

    Raises:
        Changed: it names the files that have changed.
    """
    current = user_sources(section)
    for name, source in current.items():
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is not None and (name not in _loaded or _loaded[name][0] is not spec):
            _loaded[name] = spec, source.sha256
    differing = []
    for name in {**planned, **current}:
        is_loaded = name in sys.modules and name in _loaded
        digest = _loaded[name][1] if is_loaded else current[name].sha256 if name in current else ""
        if digest != planned.get(name) and (is_loaded or name in planned):
            differing.append(str(current[name].path) if name in current else f"module {name}")
    if differing:
        raise Changed(
            f"{stage}: {', '.join(sorted(differing))} changed after this run was planned, so its result would be "
            "stored under the fingerprint of other code. Nothing was stored. Give the same command again to run what "
            "is there now, or put the file back (a sweep then needs --retry-failed)."
        )


def check_covered(stage: str, instance: object, planned: Mapping[str, str]) -> None:
    """Refuse a constructed stage that holds an object of the user's side whose source is in no fingerprint.

    Raises:
        UserError: it names the class and its file.
    """
    tops = {name.partition(".")[0] for name in planned}
    for module, name in sorted(_classes_within(instance)):
        file = getattr(sys.modules.get(module), "__file__", None)
        top = module.partition(".")[0]
        if module in planned or top in KNOWN or not file or module == "__main__":
            continue
        if top in tops or not is_installed(Path(file)):
            raise UserError(
                f"{stage}: uses '{name}' of {file}, which no class path of the section leads to, so that its "
                f"fingerprint would not change with it. Name it by its full class path, '{module}.{name}', or import "
                "its module by name where it is used."
            )


def _classes_within(instance: object) -> set[tuple[str, str]]:
    """(module, name) of the classes, their bases, and the functions of everything that an object holds."""
    found: set[tuple[str, str]] = set()
    seen: set[int] = set()
    waiting: list[Any] = [instance]
    while waiting:
        each = waiting.pop()
        if each is None or isinstance(each, (str, bytes, int, float)) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        kinds = (each if isinstance(each, type) else type(each)).__mro__
        found.update((kind.__module__, kind.__qualname__) for kind in kinds)
        if callable(each) and hasattr(each, "__qualname__") and not isinstance(each, type):
            found.add((str(getattr(each, "__module__", "")), each.__qualname__))
        if not isinstance(each, type) and not isinstance(each, type(sys)):
            waiting += getattr(each, "__dict__", {}).values()
    return found
