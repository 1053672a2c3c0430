"""Progress bars with ETA: live on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any


def progress_bar(**kwargs: Any) -> Any:
    """A tqdm bar on standard error; where that is no terminal it prints at most every 20 seconds."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(file=sys.stderr, dynamic_ncols=live, mininterval=0.2 if live else 20.0, smoothing=0.1, **kwargs)
