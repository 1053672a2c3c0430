"""A node that names a class: `class_path` with `init_args`, or the class's name alone."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from domino_lightning.config.layers import one_line
from domino_lightning.errors import UserError
from domino_lightning.utils.own_frames import own_frames, raised
from domino_lightning.utils.project import places

T = TypeVar("T")


class ClassNode(NamedTuple):
    """The dotted name of a class, and its arguments as they are written."""

    path: str
    init_args: dict[str, Any]

    @classmethod
    def read(cls, node: Any) -> ClassNode | None:
        """What a node of a document names; None where it names nothing, and validation says what is wrong with it."""
        path = node.get("class_path") if isinstance(node, dict) else node
        if not isinstance(path, str):
            return None
        init_args = node.get("init_args") if isinstance(node, dict) else None
        return cls(path, init_args if isinstance(init_args, dict) else {})

    def load(self, base: type[T], where: str) -> type[T]:
        """The class, a subclass of `base`.

        Raises:
            UserError: it cannot be imported, or is another thing; `where` begins the message.
        """
        found = class_of(self.path, where)
        if not (isinstance(found, type) and issubclass(found, base)):
            package, room = base.__module__.split(".")[:2]
            raise UserError(f"{where}: '{self.path}' is not a {package}.{room}.{base.__name__}.")
        return found


def class_of(path: str, where: str = "class_path") -> Any:
    """Import a dotted class path.

    Raises:
        UserError: the module or the class does not exist, or the module raises when it is imported.
    """
    module_name, _, name = path.rpartition(".")
    hint = "Modules are found beside the experiment's YAML, and where `domino` or `python -m domino_lightning` is run."
    python = path.partition(".")[0]
    hidden = python in sys.stdlib_module_names and bool(places(f"{python}.py") or places(python))
    if hidden:
        hint = f"'{python}' is a module of Python itself, which stands before yours: rename yours."
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script without a guard ends the process where it is imported
        own = own_frames(error)
        if not own and not isinstance(error, (ImportError, ValueError, SystemExit)):
            raise
        if isinstance(error, SystemExit):
            hint = "It ends the program where it is imported: put what it runs under `if __name__ == '__main__':`."
            own = f"{own}\n{hint}" if own else ""
        told = f"{where}: class_path '{path}' cannot be imported ({raised(error) if own else one_line(error)})."
        raise UserError(f"{told}\n{own}" if own else f"{told} {hint}") from None
    try:
        return getattr(module, name)
    except AttributeError as error:
        found = [*getattr(module, "__all__", ()), *dir(module)]  # a face that imports on first use lists names in one
        near = difflib.get_close_matches(name, found, n=1)
        if near and not hidden:
            hint = f"Did you mean '{module_name}.{near[0]}'?"
        raise UserError(f"{where}: class_path '{path}' cannot be imported ({one_line(error)}). {hint}") from None


def class_nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, ClassNode]]:
    """Dotted keys and nodes of everything below `node` that is spelled as `class_path`."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        key = f"{prefix}{name}"
        if isinstance(value, dict) and (found := ClassNode.read(value)):
            yield key, found
        yield from class_nodes(value, f"{key}.")
