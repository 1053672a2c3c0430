"""For tests of this package and of forks: checks of any loss and domain, and tiny random models in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from domino_lightning.models.tiny import byte_tokenizer, save_tiny_backbone, tiny_model

if TYPE_CHECKING:
    from domino_lightning.domains.base import Domain
    from domino_lightning.losses.base import DisentanglementLoss
    from domino_lightning.utils.findings import CheckReport

__all__ = ["byte_tokenizer", "check_domain", "check_loss", "save_tiny_backbone", "tiny_model"]


def check_loss(loss: DisentanglementLoss) -> CheckReport:
    """Exercise a loss on shapes, padding, single and ragged batches, gradients, directions and bounds.

    No model is needed: a loss is arithmetic on NLLs. Print the report, and in a test `assert report.ok, report`.

    Args:
        loss: any `DisentanglementLoss`.
    """
    from domino_lightning.losses.check import report_on

    return report_on(loss)


def check_domain(domain: Domain, rows: Iterable[Mapping[str, Any]]) -> CheckReport:
    """Exercise a domain on rows of its data: reading, round trip, keys, prompts, pairs, and grading.

    Right answers are those of the rows, wrong ones other rows' and none. Print the report, and in a test
    `assert report.ok, report`. No model is needed; a domain that runs programs runs those of the first rows.

    Args:
        domain: any `Domain`.
        rows: a few raw rows, as `read` takes them; dozens are enough.
    """
    from domino_lightning.domains.check import report_on

    return report_on(domain, rows)
