"""Reports over finished, failed and unfinished trials or a sweep of them: one HTML page and CSV."""

from domino_lightning.reporting.collect import (
    StageDir,
    TrialDir,
    find_trials,
    read_score,
    read_trial,
)
from domino_lightning.reporting.funnel import Funnel, read_funnel
from domino_lightning.reporting.runs.page import write_report
from domino_lightning.reporting.sweep.page import write_sweep_report
from domino_lightning.tracking.metrics_file import Metric, read_metrics, series

__all__ = [
    "Funnel",
    "Metric",
    "StageDir",
    "TrialDir",
    "find_trials",
    "read_funnel",
    "read_metrics",
    "read_score",
    "read_trial",
    "series",
    "write_report",
    "write_sweep_report",
]
