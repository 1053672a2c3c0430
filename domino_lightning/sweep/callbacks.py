"""Lightning's callbacks that an arm trains with, as far as they decide how long it trains and on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domino_lightning.config.nodes import ClassNode, class_of
from domino_lightning.errors import UserError


def end_of_training(trainer: Mapping[str, Any]) -> str | None:
    """What ends training elsewhere than at its steps, a callback with its reason; None: nothing that is known.

    Args:
        trainer: a section, as documents have it. Classes of a user's own that derive from none of Lightning's are
            not known.
    """
    for node, cls in _named(trainer):
        from lightning.pytorch.callbacks import EarlyStopping, Timer

        if issubclass(cls, EarlyStopping):
            return f"{cls.__name__} ends training by what it sees of the data"
        if issubclass(cls, Timer) and (cls is not Timer or node.init_args.get("duration") is not None):
            return f"{cls.__name__} ends training by the clock"
    return None


def accumulation(trainer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of callbacks that say of how many batches a step is made."""
    found = []
    for node, cls in _named(trainer):
        from lightning.pytorch.callbacks import GradientAccumulationScheduler

        if issubclass(cls, GradientAccumulationScheduler):
            found.append({"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": node.init_args})
    return found


def _named(trainer: Mapping[str, Any]) -> Iterator[tuple[ClassNode, type]]:
    """The callbacks of a section with their classes; what names no class is left to validation."""
    given = trainer.get("callbacks")
    for each in given if isinstance(given, list) else [given]:
        if (node := ClassNode.read(each)) is None:
            continue
        path = node.path if "." in node.path else f"lightning.pytorch.callbacks.{node.path}"
        try:
            cls = class_of(path)
        except UserError:
            continue
        if isinstance(cls, type):
            yield node, cls
