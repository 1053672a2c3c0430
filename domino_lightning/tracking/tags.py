"""Tags of stage runs: a stage is of every sweep and arm that uses it, also of those that come later.

`<root>/wandb/tags/<run>.json` holds the tags that a run should have, and those that it has: the ones it began with,
and what has been sent to the server since.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import read_object, write_json

log = logging.getLogger(__name__)

FOLDER = Path("wandb") / "tags"
MAX_TAG = 64  # characters that W&B takes


def note_tags(tracking: Tracking, run_id: str, tags: Sequence[str], begun: bool = False) -> None:
    """Add to the tags that a run should have; `begun`: it begins with them."""
    path = Path(tracking.root) / FOLDER / f"{run_id}.json"
    try:
        record: dict[str, Any] = read_object(path) if path.is_file() else {}
    except UserError as error:
        log.warning("%s Its tags are noted anew.", error)
        record = {}
    wanted = [*dict.fromkeys([*record.get("tags", []), *tags])]
    sent = [*dict.fromkeys([*record.get("sent", []), *(tags if begun else ())])]
    if (wanted, sent) != (record.get("tags"), record.get("sent")):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"entity": tracking.entity, "project": tracking.project, "tags": wanted, "sent": sent})


def open_tags(root: Path) -> list[Path]:
    """The records of runs that lack a tag on the server."""
    found = []
    for path in sorted((root / FOLDER).glob("*.json")):
        record = read_object(path)
        if set(record["tags"]) - set(record["sent"]):
            found.append(path)
    return found


def send_tags(root: Path) -> list[str]:
    """Give runs on the server the tags that they lack; the ids of runs that are not there."""
    import wandb

    waiting, absent = open_tags(root), []
    api: Any = wandb.Api() if waiting else None
    for path in waiting:
        record = read_object(path)
        project = "/".join(filter(None, (record["entity"] or api.default_entity, record["project"])))
        try:
            run = api.run(f"{project}/{path.stem}")
            run.tags = [*dict.fromkeys([*run.tags, *record["tags"]])]
            run.update()
        except (wandb.Error, ValueError) as error:
            log.warning("W&B: run %s has no tags of later sweeps: %s", path.stem, error)
            absent.append(path.stem)
            continue
        write_json(path, record | {"sent": record["tags"]})
    return absent
