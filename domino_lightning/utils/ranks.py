"""Which rank of a run over several processes this process is."""

from __future__ import annotations

import os


def rank() -> int:
    """The rank over all nodes, as whoever started the process names it; 0 for a process that is alone.

    Where Lightning starts the ranks of one machine itself, it names LOCAL_RANK only.
    """
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)
