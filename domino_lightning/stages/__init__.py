"""The stages of an experiment, in order. Modules are imported when a stage is looked up."""

from __future__ import annotations

from importlib import import_module

from domino_lightning.stages.base import Stage

__all__ = ["STAGES", "Stage", "stage_class"]

STAGES = ("prepare", "tune", "synthesize", "curate", "answer", "finetune", "evaluate")


def stage_class(name: str) -> type[Stage]:
    """The class of a stage, from the module of the same name."""
    cls = getattr(import_module(f"domino_lightning.stages.{name}"), name.capitalize())
    if not (isinstance(cls, type) and issubclass(cls, Stage)):
        raise TypeError(f"domino_lightning.stages.{name}.{name.capitalize()} is not a Stage")
    return cls
