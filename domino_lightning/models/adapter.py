"""A LoRA adapter that `tune` learned: PEFT's files, and beside them what they belong to, checked when loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_tokenizer
from domino_lightning.models.soft_prompt import check_identity, identity
from domino_lightning.utils.jsonl import read_object, write_json

ADAPTER, DESCRIPTION = "adapter", "adapter.json"


def describe_adapter(directory: Path, backbone: str, **described: Any) -> None:
    """Write the identity of the backbone that an adapter was learned on."""
    write_json(directory / DESCRIPTION, {**identity(backbone, load_tokenizer(backbone)), **described})


def read_adapter(directory: Path, backbone: str) -> tuple[Path, dict[str, Any]]:
    """The directory that PEFT loads, and the content of `adapter.json`.

    Args:
        directory: of a `tune` stage.
        backbone: spec that it is to go on.

    Raises:
        UserError: none there, or the backbone or tokenizer differs from the one it was learned on.
    """
    if not (directory / DESCRIPTION).is_file():
        raise UserError(
            f"{directory}: no {DESCRIPTION}. An adapter is learned with "
            "tune.model.class_path=domino_lightning.modules.LoraTuningModule."
        )
    description = read_object(directory / DESCRIPTION)
    check_identity(description, backbone, directory / DESCRIPTION)
    return directory / ADAPTER, description
