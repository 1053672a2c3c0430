"""The stage store: content-addressed directories, finished when their manifest is there.

`<root>/stages/<stage>/<fingerprint>/` holds one stage's files; `manifest.json` is written last and atomically.
`<root>/runs/<experiment>/<trial>/` holds readable links to them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from domino_lightning.errors import Busy, StageFailed, UserError
from domino_lightning.store.contents import file_hash
from domino_lightning.store.locks import held
from domino_lightning.utils.atomic import atomic_write, follow_umask
from domino_lightning.utils.jsonl import canonical_json, read_json, sha256_file, sha256_text, write_json
from domino_lightning.utils.masking import masked, masked_override

MANIFEST = "manifest.json"
SCRATCH = "scratch"  # a stage's checkpoints and other files that no reader needs; not in the manifest
VERSIONED = ("domino_lightning", "torch", "lightning", "transformers", "peft", "numpy")


@dataclass(frozen=True)
class StageKey:
    """A stage's identity: what went into its fingerprint, besides its section.

    Attributes:
        inputs: stage name → fingerprint.
        contents: dotted key of its section that names outside content → hash.
        sources: module of the user's side → hash of its file.
    """

    stage: str
    fingerprint: str
    inputs: Mapping[str, str]
    contents: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def fingerprint(
    stage: str,
    version: int,
    section: Mapping[str, Any],
    inputs: Mapping[str, str],
    contents: Mapping[str, Any],
    sources: Mapping[str, str],
) -> str:
    """Hex digits that name a stage's result.

    Args:
        stage: the stage's name.
        version: raised when the stage's code changes its result.
        section: the resolved section; its `runtime` keys are left out.
        inputs: fingerprints of the stages it reads.
        contents: dotted keys whose value names outside content, with the hash that stands for it.
        sources: modules of the user's side that the section reaches, with the hash of their file.
    """
    plain = {key: value for key, value in section.items() if key != "runtime"}
    for key, digest in contents.items():
        plain = _replaced(plain, key.split("."), digest)
    parts = {
        "stage": stage,
        "version": version,
        "section": plain,
        "inputs": dict(inputs),
        "sources": dict(sources),
    }
    return sha256_text(canonical_json(parts))[:16]


def _replaced(tree: Any, path: list[str], value: Any) -> Any:
    """The tree with the value under a path, also where a default stands there; in a list, a part of it is an index."""
    head, rest = path[0], path[1:]
    if isinstance(tree, list):
        changed = _replaced(tree[int(head)], rest, value) if rest else value
        return [changed if index == int(head) else item for index, item in enumerate(tree)]
    return {**tree, head: _replaced(tree.get(head, {}), rest, value) if rest else value}


class Store:
    """Stages and runs under one root directory."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def check(self, *inside: Path) -> None:
        """Whether the root directory, and those inside that will be written to, are there or could be made.

        Raises:
            UserError: one cannot be made, or not be written to.
        """
        for path in (self.root, *inside):
            place = path.absolute()
            above = next((each for each in (place, *place.parents) if each.exists()), place)
            if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
                reason = "no permission" if above.is_dir() else "Not a directory"
                if self.root.absolute() in above.parents:
                    raise UserError(f"{above}: {reason}. Move it away, or name another directory: root=...")
                raise self._refusal(reason)

    def create(self, *inside: Path) -> None:
        """Make the root directory; those inside are only looked at, and made by who writes to them.

        Raises:
            UserError: one cannot be made, or not be written to.
        """
        self.check(*inside)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from None

    def _refusal(self, reason: str) -> UserError:
        return UserError(f"root: '{self.root}' cannot be written to ({reason}). Name another directory: root=...")

    def path(self, stage: str, digest: str) -> Path:
        """The directory of a stage result, whether or not it exists."""
        return self.root / "stages" / stage / digest

    def finished(self, stage: str, digest: str) -> bool:
        """Whether the manifest is there and whole; without it the stage has not finished."""
        return read_manifest(self.path(stage, digest)) is not None

    @contextmanager
    def lock(self, stage: str, digest: str, wait: bool = True) -> Iterator[None]:
        """Hold a stage: a second process that wants it waits here until the first is done or dead.

        Raises:
            Busy: another process holds it, and `wait` is false.
        """
        path = self.path(stage, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock, what = path.with_name(f".{digest}.lock"), f"{stage} {digest}"
        with ExitStack() as stack:
            try:
                stack.enter_context(held(lock, what, 0.2 if wait else 0.0))
            except Busy:
                if not wait:
                    raise
                sys.stderr.write(f"{what}: another process is running it; waiting.\n")
                stack.enter_context(held(lock, what, -1.0))
            yield

    def busy(self, stage: str, digest: str) -> bool:
        """Whether a process holds the stage now."""
        try:
            with self.lock(stage, digest, wait=False):
                return False
        except Busy:
            return True

    def finish(
        self,
        key: StageKey,
        version: int,
        section: Mapping[str, Any],
        wall_s: float | None,
        directory: Path | None = None,
    ) -> None:
        """Write the manifest, which makes the stage finished: sha256 and size of every file, where it came from.

        Args:
            key: its identity.
            version: of its class.
            section: the resolved section.
            wall_s: how long it took; None of a stage that was not run here.
            directory: of an attempt; by default the stage's own.
        """
        folder = directory or self.path(key.stage, key.fingerprint)
        outputs = {
            str(path.relative_to(folder)): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not _is_private(path.relative_to(folder))
        }
        for name in outputs:
            follow_umask(folder / name)  # others read the store too
        manifest = {
            "stage": key.stage,
            "version": version,
            "fingerprint": key.fingerprint,
            "inputs": dict(key.inputs),
            "contents": dict(key.contents),
            "sources": dict(key.sources),
            "outputs": outputs,
            "config": masked(section),
            "versions": _versions(),
            "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
            "git_sha": _git_sha(),
            "wall_s": None if wall_s is None else round(wall_s, 3),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        write_json(folder / MANIFEST, manifest)

    def verified(self, stage: str, digest: str) -> Path:
        """The directory of a finished stage after checking every file against its manifest.

        Raises:
            StageFailed: the stage is not finished, or a file is missing or differs.
        """
        folder = self.path(stage, digest)
        manifest = read_manifest(folder)
        if manifest is None:
            raise StageFailed(f"{folder}: stage {stage} has not finished (no {MANIFEST}, or not a whole one).")
        for damage in altered(folder, manifest, sha256_file):
            raise StageFailed(f"{damage}. {_mend(stage)}")
        return folder

    def resized(self, stage: str, digest: str) -> str | None:
        """A file of a finished stage that has another size than it had, in words, with the remedy; None: there is none.

        It costs a look at each file's size and reads none, so it can be had wherever a stage is taken as finished. A
        file that is missing is no matter here: stores are brought elsewhere in part, and who reads a stage looks whole.
        """
        folder = self.path(stage, digest)
        for name, expected in (read_manifest(folder) or {"outputs": {}})["outputs"].items():
            with suppress(OSError):
                if isinstance(expected, dict) and (folder / name).stat().st_size != expected.get("bytes"):
                    return f"{folder / name} has changed since stage {stage} finished. {_mend(stage)}"
        return None

    def discard(self, stage: str, digest: str) -> None:
        """Remove a stage's result, the manifest first, so that a kill in between leaves it unfinished.

        Of a link to another store's, as a preview has them, only the link goes.
        """
        folder = self.path(stage, digest)
        if folder.is_symlink():
            folder.unlink()
            return
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def runs(self, experiment: str) -> Path:
        """Where the directories of an experiment's trials are."""
        return self.root / "runs" / safe_name(experiment)

    def trial(self, experiment: str, trial: str) -> Path:
        """The directory of readable links of one trial, created if need be."""
        folder = self.runs(experiment) / safe_name(trial)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def link(self, folder: Path, stage: str, digest: str) -> None:
        """Point `folder/<stage>` at the stage's directory.

        A store that was copied with its links followed has whole stages in their place; one of them goes where the
        store has it too.

        Raises:
            UserError: something else is there.
        """
        target, place = os.path.relpath(self.path(stage, digest), folder), folder / stage
        if place.is_dir() and not place.is_symlink():
            copied = read_manifest(place)
            if copied is None or copied != read_manifest(self.path(stage, str(copied.get("fingerprint")))):
                raise UserError(f"{place}: a directory, where a link to the stage is expected. Move it away.")
            shutil.rmtree(place)
        with atomic_write(folder / stage) as temporary:
            temporary.symlink_to(target)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A stage's manifest; None where there is none, or one that a crash has left empty or cut off."""
    try:
        manifest = read_json(folder / MANIFEST)
    except UserError:
        return None
    whole = isinstance(manifest, dict) and all(isinstance(manifest.get(name), str) for name in ("stage", "fingerprint"))
    whole = whole and all(isinstance(manifest.get(name), dict) for name in ("inputs", "outputs"))
    return manifest if whole else None


def altered(folder: Path, manifest: Mapping[str, Any], digest: Callable[[Path], str] = file_hash) -> Iterator[str]:
    """What is wrong with the files of a finished stage, in words that begin with the path.

    Args:
        folder: the stage's directory.
        manifest: its manifest.
        digest: how files are hashed; by default a large one only if something about it has changed.
    """
    for name, expected in manifest["outputs"].items():
        path = folder / name
        if not path.is_file():
            yield f"{path} is missing though stage {manifest['stage']} finished"
        elif not isinstance(expected, dict) or digest(path) != expected.get("sha256"):
            yield f"{path} has changed since stage {manifest['stage']} finished"


def lineage(directory: Path) -> dict[str, dict[str, Any]]:
    """Manifests of a stage's directory and of all that it rests on, by stage name; what is not there is left out."""
    manifest = read_manifest(directory)
    if manifest is None:
        return {}
    found = {str(manifest["stage"]): manifest}
    for stage, digest in manifest["inputs"].items():
        found = lineage(directory.parents[1] / stage / digest) | found
    return found


def _mend(stage: str) -> str:
    return f"Run it again with --force {stage}, or restore the file."


def _is_private(path: Path) -> bool:
    return path.name == MANIFEST or any(part == SCRATCH or part.startswith(".") for part in path.parts)


def safe_name(name: str) -> str:
    """A file name of its own for every name: what holds other than letters, digits and `_.,=+:@-` ends in a hash.

    On a file system that knows no case, names that differ in case alone share one.
    """
    safe = re.sub(r"[^\w.,=+:@-]+", "_", name).strip("._") or "_"
    if safe == name and len(safe.encode()) <= 120:
        return safe
    return f"{safe.encode()[:100].decode(errors='ignore')}-{sha256_text(name)[:12]}"


def trial_name(overrides: list[str]) -> str:
    """How a run is called when it is not named: its overrides, or 'default'."""
    chosen = [text for text in overrides if not text.startswith(("root=", "tracking.", "name="))]
    return ",".join(map(masked_override, chosen)) or "default"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_sha() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, cwd=os.getcwd())
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
