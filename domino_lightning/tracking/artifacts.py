"""What W&B keeps of a stage as artifacts: its files, in place, and the code of a fork that it runs."""

from __future__ import annotations

from typing import Any

from domino_lightning.store.sources import user_sources
from domino_lightning.store.store import SCRATCH
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import sha256_file

MAX_ARTIFACT_FILE = 512 * 2**20  # bytes; a whole model stays in the store, its coder.json names it


def artifact_name(stage: str, fingerprint: str) -> str:
    """The artifact that holds a stage's output."""
    return f"{stage}-{fingerprint}"


def stage_artifact(work: Work, stage: str, kind: str) -> Any:
    """The stage's files, in place: finished stages never change, so no copy waits for the upload.

    Its metadata has rows and sha256 of each file, and the sweeps and arms that the stage is of.
    """
    import wandb

    artifact = wandb.Artifact(artifact_name(stage, work.fingerprint), type=kind)
    folder = work.directory.resolve()
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == SCRATCH for part in parts)
        if path.is_file() and not hidden and path.stat().st_size <= MAX_ARTIFACT_FILE:
            name = "/".join(parts)
            artifact.add_file(str(path), name=name, policy="immutable")
            hashes[name] = sha256_file(path)
            if path.suffix == ".jsonl":
                with open(path, "rb") as file:
                    rows[name] = sum(1 for _ in file)
    artifact.metadata = {
        "stage": stage,
        "fingerprint": work.fingerprint,
        "rows": rows,
        "sha256": hashes,
        "sweeps": _of("sweep", work),
        "arms": _of("arm", work),
    }
    return artifact


def _of(kind: str, work: Work) -> list[str]:
    """The sweeps or arms among the tags of a stage's run."""
    return [tag.removeprefix(f"{kind}:") for tag in work.tracking.tags if tag.startswith(f"{kind}:")]


def code_artifact(work: Work) -> Any:
    """The files of a fork's classes that a stage's section reaches, as they are now; None where it reaches none."""
    import wandb

    found = user_sources(work.section)
    if not found:
        return None
    artifact = wandb.Artifact(f"code-{work.fingerprint}", type="code")
    for module, source in found.items():
        artifact.add_file(str(source.path), name="/".join(module.split(".")) + source.path.suffix)
    artifact.metadata = {"sha256": {module: source.sha256 for module, source in found.items()}}
    return artifact
