"""Lightning's own callbacks in a `trainer` section: what they cannot do here, and what they failed with, in words."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from typing import Any

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.utils.own_frames import is_own, raised

OURS = ("lightning", "domino_lightning")


def given(trainer: Mapping[str, Any]) -> list[Any]:
    """The callbacks of a section."""
    found = trainer.get("callbacks")
    return list(found) if isinstance(found, list | tuple) else [] if found is None else [found]


def check_callbacks(stage: str, trainer: Mapping[str, Any], logged: Collection[str] | None) -> None:
    """Refuse callbacks of Lightning's that would fail, or end training before it has begun.

    Args:
        stage: its name.
        trainer: its section.
        logged: what can be monitored, a name that ends in a slash standing for all that begin with it; None: not known.

    Raises:
        UserError: it names the callback, its argument and the remedy.
    """
    callbacks = given(trainer)
    if not callbacks and trainer.get("max_time") is None:
        return
    from lightning.pytorch.callbacks import ModelPruning, Timer, WeightAveraging

    own = any(type(each).__module__.partition(".")[0] not in OURS for each in callbacks)  # which may log anything
    where = f"{stage}.trainer.callbacks"
    for each in callbacks:
        name, monitor = type(each).__name__, getattr(each, "monitor", None)
        if isinstance(each, WeightAveraging | ModelPruning):
            raise UserError(
                f"{where}: {name} takes a module's weights before stage {stage} has loaded them, and so has none. "
                "Leave it out."
            )
        if isinstance(each, Timer) and _is_over(each):
            raise UserError(f"{where}: duration of {name} must be more than 0, since no step would be done.")
        if not isinstance(monitor, str) or own or logged is None or not getattr(each, "strict", True):
            continue
        if not any(monitor == known or (known.endswith("/") and monitor.startswith(known)) for known in logged):
            names = ", ".join(f"{known}<name>" if known.endswith("/") else known for known in logged)
            raise UserError(f"{where}: monitor '{monitor}' of {name} must be what stage {stage} logs: {names}.")
    length = trainer.get("max_time")
    if length is not None and _is_over(Timer(length)):
        raise UserError(f"{stage}.trainer: max_time {length} must be more than 0, since no step would be done.")


def _is_over(timer: Any) -> bool:
    left = timer.time_remaining()
    return left is not None and left <= 0


def failure(stage: str, trainer: Mapping[str, Any], error: Exception) -> UserError | None:
    """What a fit ended with where Lightning refuses settings, or a callback of its own fails; None: anything else."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if isinstance(error, UserError | StageFailed):
        return None
    name, module = None, ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        callback = frame.f_locals.get("self")
        if module.startswith("lightning.pytorch.callbacks.") and any(callback is each for each in given(trainer)):
            name = type(callback).__name__
        elif module.startswith("domino_lightning.") or is_own(frame.f_code.co_filename):
            name = None  # what it called is where to look
    if name is not None:
        told = f"{stage}.trainer.callbacks: {name} failed ({raised(error)})"
        return UserError(f"{told}. Change its init_args, or leave it out.")
    if isinstance(error, MisconfigurationException) and module.startswith("lightning."):
        return UserError(f"{stage}.trainer: Lightning refuses it ({raised(error)}).")
    return None
