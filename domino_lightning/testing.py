"""For tests of this package and of forks: a check of any loss, and tiny random models made in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domino_lightning.models.tiny import byte_tokenizer, save_tiny_backbone, tiny_model

if TYPE_CHECKING:
    from domino_lightning.losses.base import DisentanglementLoss
    from domino_lightning.losses.check import LossReport

__all__ = ["byte_tokenizer", "check_loss", "save_tiny_backbone", "tiny_model"]


def check_loss(loss: DisentanglementLoss) -> LossReport:
    """Exercise a loss on shapes, padding, single and ragged batches, gradients, directions and bounds.

    No model is needed: a loss is arithmetic on NLLs. Print the report, and in a test `assert report.ok, report`.

    Args:
        loss: any `DisentanglementLoss`.
    """
    from domino_lightning.losses.check import report_on

    return report_on(loss)
