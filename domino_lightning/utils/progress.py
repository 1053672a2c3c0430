"""What a person sees while stages run: progress bars with ETA, durations, and no advice that does not apply."""

from __future__ import annotations

import sys
import warnings
from typing import Any

_UNITS = ((86_400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s"))  # seconds of a unit and of its part


def progress_bar(**kwargs: Any) -> Any:
    """A tqdm bar on standard error; where that is no terminal it prints at most every 20 seconds."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(file=sys.stderr, dynamic_ncols=live, mininterval=0.2 if live else 20.0, smoothing=0.1, **kwargs)


def duration(seconds: float) -> str:
    """Seconds as 4.2 s, 3 min 05 s, 2 h 07 min or 3 d 04 h; a second part that is 0 is left out."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    size, part, name, rest_name = next(unit for unit in _UNITS if seconds >= unit[0])
    first, rest = divmod(round(seconds / part) * part, size)
    return f"{first} {name}" + (f" {rest // part:02d} {rest_name}" if rest else "")


def silence_advice() -> None:
    """Filter third-party warnings that are no news here: validation follows steps, loaders are small on purpose."""
    for message in (
        r".*does not have many workers.*",
        r".*number of training batches.*smaller than the logging interval.*",
        r".*in eval mode at the start of training.*",
        r".*sync_dist.*",
        r".*LeafSpec.*",
        r".*`srun` command is available.*",  # as on any login node
        r".*is_gradient_checkpointing.*",
        r".*your dataloader is not resumable.*",  # batches are a function of seed and step, and skip what was done
    ):
        warnings.filterwarnings("ignore", message=message)
