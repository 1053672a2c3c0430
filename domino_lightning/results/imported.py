"""Evaluations that were taken over from elsewhere: a trial's numbers and verdicts without the stages below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import read_object

IMPORTED = "imported.json"  # in an imported evaluate stage: final numbers of its trial, and what it was run with


def is_imported(evaluate: Path) -> bool:
    """Whether an evaluate stage's directory was imported and not run."""
    return (evaluate / IMPORTED).is_file()


def imported_metrics(evaluate: Path) -> dict[str, float]:
    """Final numbers by key of the stages that an imported evaluation rests on; none where it was run here.

    Raises:
        UserError: a file that cannot be read.
    """
    if not is_imported(evaluate):
        return {}
    found = read_object(evaluate / IMPORTED).get("metrics")
    listed: dict[str, Any] = found if isinstance(found, dict) else {"metrics": found}
    numbers = {key: value for key, value in listed.items() if type(value) in (int, float)}
    if len(numbers) < len(listed):
        raise UserError(f"{evaluate / IMPORTED}: its metrics are no numbers. Import the sweep's results again.")
    return numbers
