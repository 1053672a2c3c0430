"""domino_lightning: learn a domain from examples, synthesize data for it, score a coder on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domino_lightning.results.runs import Run, open_run
    from domino_lightning.sweep.results import SweepRuns, open_sweep

__all__ = ["Run", "SweepRuns", "__version__", "open_run", "open_sweep"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the Python API on first use, so that the command line starts at once."""
    if name in {"Run", "open_run"}:
        from domino_lightning.results import runs

        return getattr(runs, name)
    if name in {"SweepRuns", "open_sweep"}:
        from domino_lightning.sweep import results

        return getattr(results, name)
    raise AttributeError(f"module 'domino_lightning' has no attribute '{name}'")
