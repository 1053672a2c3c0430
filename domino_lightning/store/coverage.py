"""Whether the user's code that is loaded is the one that a fingerprint covers: as planned, and nothing besides."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from inspect import unwrap
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from domino_lightning.errors import Changed, UserError
from domino_lightning.store.outline import outline
from domino_lightning.store.sources import KNOWN, Source, is_installed, user_sources
from domino_lightning.utils.within import everything_in

_MAIN = ("__main__", "__mp_main__")
_loaded: dict[str, tuple[Any, str]] = {}  # module → its spec and hash when it was first seen loaded
_before: set[str] = set()  # modules that were there before the first look, so that no section brought them in
_reached: set[Path] = set()  # files that looks have led to, of any section that this process has to do with
_strays: set[Path] = set()  # files that were loaded without, however a later look may be led to them

_REMEDY = (
    "Import it by name (`import {}`) in a module that the section names, and have it lie where that finds it before "
    "anything of yours has run: beside the experiment's YAML, in the working directory, in your package, or in a "
    "folder of PYTHONPATH."
)


def look_ahead(section: Any) -> dict[str, Source]:
    """`user_sources`, before anything that the section names is loaded: the look that counts for `check_loaded`.

    Raises:
        UserError: a class path whose module cannot be found.
    """
    if not _before:
        _before.update(sys.modules)
    found = user_sources(section)
    _reached.update({source.path.resolve() for source in found.values()} - _strays)
    return found


def check_loaded(stage: str, found: Mapping[str, Source]) -> None:
    """Refuse modules of the user's side that have been loaded, though no look ahead has led to them.

    Args:
        stage: begins the message.
        found: what the look at its section has led to; without code of the user's, nothing of it can load any.

    Raises:
        UserError: it names the first such file.
    """
    for name in sorted(set(sys.modules) - _before) if found else ():
        file = _file(name)
        if file is None or file.suffix != ".py" or name in _MAIN or name.partition(".")[0] in KNOWN:
            continue
        if file not in _reached and not is_installed(file):
            _strays.add(file)
            called = name if name.rpartition(".")[2] in (file.stem, file.parent.name) else file.stem
            raise UserError(
                f"{stage}: {file} was loaded, and no class path of the section or import that can be read leads to "
                f"it, so that its fingerprint would not change with it. Nothing was stored. {_REMEDY.format(called)}"
            )


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


def check_covered(stage: str, instance: object, found: Mapping[str, Source]) -> None:
    """Refuse a constructed stage that holds an object of the user's side whose source is in no fingerprint.

    Args:
        stage: begins the message.
        instance: the stage.
        found: what the look at its section has led to.

    Raises:
        UserError: it names the class or function, and its file where it has one.
    """
    covered = {source.path.resolve() for source in found.values()}
    tops = {name.partition(".")[0] for name in found}
    for each in sorted(_held(instance)):
        top = each.module.partition(".")[0]
        if top in KNOWN or each.module in _MAIN:
            continue
        if _is_run_text(each, found):
            raise UserError(
                f"{stage}: uses '{each.name}' of '{each.module}', which comes from text that was run and that no "
                f"module is seen to hold, so that the fingerprint would not change with it. Write '{each.name}' in a "
                "module, and import it by name."
            )
        for file in sorted(each.files - covered):
            if is_installed(file) and (each.module in found or top not in tops):
                continue
            called = each.module if _file(each.module) == file else file.stem
            raise UserError(
                f"{stage}: uses '{each.name}' of {file}, which no class path of the section leads to, so that its "
                f"fingerprint would not change with it. {_REMEDY.format(called)}"
            )


class _Held(NamedTuple):
    """A class or function of Python that a stage holds.

    Attributes:
        module: that it says it is of.
        name: qualified by the classes and functions around it.
        files: of its code, or of its module; none where neither has one.
        in_file: whether these are of its code.
    """

    module: str
    name: str
    files: frozenset[Path]
    in_file: bool


def _is_run_text(held: _Held, found: Mapping[str, Source]) -> bool:
    """Whether something is of no file: of no module, or of one that runs text and does not itself bind the name."""
    if held.module not in found or held.in_file or held.name.startswith("<"):
        return not held.files
    top = held.module.partition(".")[0]
    near = [outline(source.path.read_bytes()) for name, source in found.items() if name.partition(".")[0] == top]
    bound = held.name.partition(".")[0]
    return any(text.computed for text in near) and not any(bound in text.names for text in near)


def _held(instance: object) -> set[_Held]:
    """The classes, their bases, and the functions of everything that an object holds; what is compiled is left out."""
    found: set[_Held] = set()
    for each in everything_in(instance):
        kinds = (each if isinstance(each, type) else type(each)).__mro__
        owners: list[Any] = [*kinds, each] if isinstance(each, FunctionType) else [*kinds]
        for one in owners:
            members = list(vars(one).values()) if isinstance(one, type) else [one]
            code = [call.__code__ for member in members if (call := _function_of(member, one)) is not None]
            files = frozenset(Path(each.co_filename).resolve() for each in code if Path(each.co_filename).is_file())
            module = str(one.__module__)
            of_module = frozenset(filter(None, [_file(module)]))
            if code or of_module or not any(map(_is_compiled, members)):
                found.add(_Held(module, one.__qualname__, files or of_module, bool(files)))
    return found


def _function_of(member: Any, owner: Any) -> FunctionType | None:
    """The function of Python that a member of a class is, or wraps, where it was written for that class."""
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    member = unwrap(member) if isinstance(member, FunctionType) else member  # contracts wrap what a class overrides
    own = isinstance(member, FunctionType) and member.__qualname__.startswith(owner.__qualname__)
    return member if own and member.__module__ == owner.__module__ else None


def _is_compiled(member: Any) -> bool:
    return callable(member) and not isinstance(member, type)


def _file(module: str) -> Path | None:
    """The file of a module that is loaded, where it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file else None
