"""Reports over finished, failed and unfinished trials: one HTML page and one CSV file."""

from domino_lightning.reporting.collect import (
    Metric,
    StageDir,
    Trial,
    find_trials,
    read_metrics,
    read_score,
    read_trial,
    series,
)
from domino_lightning.reporting.funnel import Funnel, read_funnel
from domino_lightning.reporting.report import write_report

__all__ = [
    "Funnel",
    "Metric",
    "StageDir",
    "Trial",
    "find_trials",
    "read_funnel",
    "read_metrics",
    "read_score",
    "read_trial",
    "series",
    "write_report",
]
