"""What a trial's W&B run holds, read from the directories of its stages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domino_lightning.config.layers import one_line
from domino_lightning.errors import UserError
from domino_lightning.stages import stage_class
from domino_lightning.tracking.metrics_file import Metric, read_metrics
from domino_lightning.tracking.wandb import TrialLog

log = logging.getLogger(__name__)


def trial_log(folders: Mapping[str, Path], metrics: Mapping[str, float], document: Mapping[str, Any]) -> TrialLog:
    """Curves and samples of a trial's stages; those of one that cannot be read are left out, with a warning.

    Args:
        folders: stage → directory, of those that have run.
        metrics: final numbers of all stages.
        document: the resolved experiment.
    """
    curves: list[Metric] = []
    samples: dict[str, list[dict[str, str]]] = {}
    for name, folder in folders.items():
        cls = stage_class(name)
        try:
            curves += read_metrics(folder)
            if cls.samples_key:
                samples[cls.samples_key] = cls.samples(folder, document.get(name))
        except (UserError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("W&B: %s cannot be read (%s); the trial's run lacks its curves and samples.", folder,
                        one_line(error))  # fmt: skip
    return TrialLog(metrics, curves, samples, document)
