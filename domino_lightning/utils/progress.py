"""What a person sees while stages run: progress bars with ETA, and no advice that does not apply."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def progress_bar(**kwargs: Any) -> Any:
    """A tqdm bar on standard error; where that is no terminal it prints at most every 20 seconds."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(file=sys.stderr, dynamic_ncols=live, mininterval=0.2 if live else 20.0, smoothing=0.1, **kwargs)


def silence_advice() -> None:
    """Filter third-party warnings that are no news here: validation follows steps, loaders are small on purpose."""
    for message in (
        r".*does not have many workers.*",
        r".*number of training batches.*smaller than the logging interval.*",
        r".*in eval mode at the start of training.*",
        r".*sync_dist.*",
        r".*LeafSpec.*",
        r".*is_gradient_checkpointing.*",
        r".*your dataloader is not resumable.*",  # batches are a function of seed and step, and skip what was done
    ):
        warnings.filterwarnings("ignore", message=message)
