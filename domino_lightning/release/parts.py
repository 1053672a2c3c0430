"""The parts of a run that can be released, each as one repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.release.bundle import Bundle, check_repo_id
from domino_lightning.release.dataset import dataset_bundle
from domino_lightning.release.models import coder_bundle, soft_prompt_bundle
from domino_lightning.release.origin import Origin
from domino_lightning.release.terms import Terms
from domino_lightning.results.runs import Run

PARTS = {"data": "answer", "soft-prompt": "tune", "coder": "finetune"}


class Release(NamedTuple):
    """The repositories of a release, and why parts of the run are in none."""

    bundles: list[Bundle]
    left_out: dict[str, str]


def make_release(run: Run, to: str, terms: Terms, only: Sequence[str] = (), endpoint: str = "") -> Release:
    """Everything that is to be pushed, before anything is.

    Args:
        run: the run.
        to: `user/name` of the dataset; `-soft-prompt` and `-coder` are put behind it for the models.
        terms: licenses.
        only: parts; empty for all that the run has.
        endpoint: of the hub; empty for the one that is set.

    Raises:
        UserError: a name that the hub would refuse, a part that the run does not have, files that have changed.
    """
    from huggingface_hub import constants

    names = {part: to if part == "data" else f"{to}-{part}" for part in PARTS}
    for name in names.values():
        check_repo_id(name)
    left_out = {part: reason for part in PARTS if (reason := _why_not(run, part)) and part not in only}
    wanted = [part for part in PARTS if part in (only or PARTS) and part not in left_out]
    if not wanted:
        raise UserError(f"push: {run.path} has nothing to release: {'; '.join(left_out.values())}.")
    bundles = []
    for part in wanted:
        if part == "data":
            origin = Origin.of(run, "answer")
            bundles.append(dataset_bundle(origin, terms, names[part], endpoint or constants.ENDPOINT))
        elif part == "soft-prompt":
            bundles.append(soft_prompt_bundle(Origin.of(run, "tune"), terms, names[part]))
        else:
            origin = Origin.of(run, "evaluate" if (run.path / "evaluate" / "manifest.json").is_file() else "finetune")
            data = names["data"] if "data" in wanted and "answer" in origin.stages else None
            bundles.append(coder_bundle(origin, terms, names[part], data))
    return Release(bundles, {part: left_out[part] for part in left_out if not only})


def _why_not(run: Run, part: str) -> str:
    """Why a run has no such part; empty where it has."""
    stage = PARTS[part]
    if stage not in run.trial["stages"]:
        return f"{part}: the run has no stage {stage}"
    if part == "coder" and run.config["finetune"].get("source") == "none":
        return "coder: it is the untouched backbone (finetune.source is none)"
    if part == "soft-prompt" and "class_path" in (run.config["tune"].get("model") or {}):
        return f"soft-prompt: tune learned something else ({run.config['tune']['model']['class_path']})"
    return ""
