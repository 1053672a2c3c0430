"""Names of outside content (`pip:<package>/<file>`, paths, hub ids), where it lies, and its content hash."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from domino_lightning.errors import Unreachable, UserError
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import read_json, sha256_file, sha256_text
from domino_lightning.utils.project import located

log = logging.getLogger(__name__)

PIP = "pip:"
HUB_DATASET = "hf:"
SETTLED_S = 2.0  # the coarsest clock of a file system in use
_MODEL_SUFFIXES = {".json", ".safetensors", ".jinja", ".model", ".txt"}
_PICKLED = re.compile(r"(pytorch_model|model|adapter_model|tf_model|flax_model).*\.(bin|pt|pth|ckpt|h5|msgpack)")


def cache_dir() -> Path:
    """Where derived files are kept: $DOMINO_CACHE, or domino_lightning/ under the user's cache; made by its users."""
    base = os.environ.get("DOMINO_CACHE")
    if base:
        return Path(base)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "domino_lightning"
    except RuntimeError:
        return _substitute_cache("there is no home directory")


def writable_cache_dir() -> Path:
    """`cache_dir`, made; where it cannot be written to, a temporary directory, with a warning."""
    path = cache_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(path, os.W_OK | os.X_OK) else "no permission"
    except OSError as error:
        reason = error.strerror or str(error)
    return _substitute_cache(f"the cache {path} cannot be written to ({reason})") if reason else path


@lru_cache(maxsize=1)
def _substitute_cache(why: str) -> Path:
    """A directory that nobody else can write to, the same one for all processes of a user where that is possible."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    path = Path(tempfile.gettempdir()) / f"domino_lightning-{user}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        safe = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    except OSError:
        safe = False
    if not safe:
        path = Path(tempfile.mkdtemp(prefix="domino_lightning-"))
    log.warning("Cache: %s, so %s is used instead; set DOMINO_CACHE to a directory that lasts.", why, path)
    return path


def packaged_file(spec: str, key: str) -> Path:
    """The file that `pip:<package>/<file>` names; the package is found, never imported.

    Raises:
        UserError: the package is not installed, or it has no such file.
    """
    package, _, name = spec.removeprefix(PIP).partition("/")
    try:
        found = importlib.util.find_spec(package) if package and "." not in package else None
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        dashed = package.replace("_", "-")
        raise UserError(
            f"{key}: '{spec}' names the package '{package}', which is not installed. "
            f"Install it, for example with `pip install --no-deps {dashed}`, or name another file."
        )
    for folder in found.submodule_search_locations:
        path = Path(folder) / name
        if name and path.is_file():
            return path
    raise UserError(f"{key}: '{spec}': the installed package '{package}' has no file '{name}'.")


def file_hash(path: Path) -> str:
    """Hex sha256 of a file; of a large one remembered, until anything that the file system says about it changes."""
    before = path.stat()
    if before.st_size < 1 << 20:
        return sha256_file(path)
    memo = cache_dir() / "hashes" / sha256_text(f"{path.resolve()}|{_signature(before)}")[:32]
    try:
        remembered = memo.read_text()
    except (OSError, UnicodeDecodeError):
        remembered = ""
    if len(remembered) == 64:
        return remembered
    digest = sha256_file(path)
    # A file that changed within the clock's grain, or while it was read, may look the same and be another.
    if _signature(path.stat()) != _signature(before) or time.time() - before.st_ctime < SETTLED_S:
        return digest
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(memo) as temporary:
            temporary.write_text(digest)
    except OSError:  # a cache that cannot be written only costs time
        return digest
    return digest


def _signature(found: os.stat_result) -> str:
    """What changes with a file's content, for those who keep size and time too: copies, archives, layers."""
    return f"{found.st_size}|{found.st_mtime_ns}|{found.st_ctime_ns}|{found.st_ino}|{found.st_dev}"


def data_hash(spec: str, key: str) -> str:
    """Content hash of a data source: the file's bytes, or the dataset id as it stands for an `hf:` source.

    Raises:
        UserError: the file does not exist, or a folder here stands before the dataset.
    """
    if spec.startswith(HUB_DATASET):
        if Path(name := spec.removeprefix(HUB_DATASET).partition(":")[0]).exists():  # `datasets` would read that
            raise UserError(
                f"{key}: '{spec}' names a dataset of the hub, and '{name}' lies in the working directory, which would "
                "be read in its place. Give the path of a .jsonl or .parquet file, or run from another directory."
            )
        return spec
    return file_hash(data_file(spec, key))


def data_file(spec: str, key: str) -> Path:
    """The local file of a data source; a relative path leads from the experiment's YAML, or the working directory.

    Raises:
        UserError: the file does not exist.
    """
    path = packaged_file(spec, key) if spec.startswith(PIP) else located(spec, key)
    if not path.is_file():
        raise UserError(f"{key}: '{spec}': no such file. Give the path of a .jsonl or .parquet file.")
    return path


def soft_prompt_file(path: str | Path) -> Path:
    """The safetensors file that a directory or a path names.

    Raises:
        UserError: there is none.
    """
    given = Path(path)
    candidates = [given / name for name in ("soft_prompt.safetensors", "adapter_model.safetensors")]
    for file in [given, *candidates]:
        if file.is_file():
            return file
    raise UserError(
        f"'{given}': no soft prompt there. Name a finished tune directory, a PEFT prompt-tuning adapter, or a "
        ".safetensors file of either."
    )


def backbone_hash(spec: str, key: str) -> str:
    """Content hash of a backbone: GGUF bytes, the files of a local directory, or a hub snapshot's commit.

    Raises:
        UserError: the spec names nothing that is there, or weights that are not safetensors.
    """
    if spec.startswith(PIP):
        return file_hash(packaged_file(spec, key))
    folder = Path(spec)
    if spec and folder.is_dir():
        parts = {path.relative_to(folder).as_posix(): file_hash(path) for path in _model_files(folder, spec, key)}
        return sha256_text(json.dumps(parts, sort_keys=True))
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1 or not spec:
        raise UserError(f"{key}: '{spec}': no such directory.")
    return _hub_commit(spec, key)


def folder_or_hub_hash(spec: str, key: str) -> str:
    """Content hash of a model that is no backbone: all files of a local directory, or a hub snapshot's commit.

    Raises:
        UserError: the spec names nothing that is there.
    """
    folder = Path(spec)
    if not spec or not folder.is_dir():
        return backbone_hash(spec, key)
    return folder_hash(folder)


def folder_hash(folder: Path) -> str:
    """Content hash of all files of a folder, by their names; through links too, but not in a circle."""
    parts = {path.relative_to(folder).as_posix(): file_hash(path) for path in _files_below(folder, frozenset())}
    return sha256_text(json.dumps(parts, sort_keys=True))


def _files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Files of a folder and of those in it, but for a link to one that it lies in."""
    real = folder.resolve()
    if real in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files_below(path, above | {real})
        elif path.is_file():
            yield path


def _model_files(folder: Path, spec: str, key: str) -> list[Path]:
    """Every file of a directory that loading a model or a tokenizer from it may read."""
    files = {path for path in folder.iterdir() if path.suffix in _MODEL_SUFFIXES and path.is_file()}
    files.update((folder / "additional_chat_templates").glob("*.jinja"))
    if folder / "config.json" not in files:
        raise UserError(f"{key}: '{spec}': the directory has no config.json; save a model with save_pretrained.")
    if folder / "adapter_config.json" in files:
        raise UserError(
            f"{key}: '{spec}': has an adapter_config.json, so that its weights lie elsewhere too. Merge the adapter "
            "and save the model with save_pretrained."
        )
    named = read_json(folder / "config.json")
    name = named.get("transformers_weights") if isinstance(named, dict) else None
    weights = [] if name is None else [str(name)]
    for index in folder.glob("*.safetensors.index.json"):
        listed = read_json(index)
        shards = listed.get("weight_map") if isinstance(listed, dict) else None
        if not isinstance(shards, dict):
            raise UserError(f"{index}: no index of weights (no 'weight_map'). Save the model with save_pretrained.")
        weights += sorted(set(map(str, shards.values())))
    for name in weights:
        if not (folder / name).is_file():
            raise UserError(f"{key}: '{spec}': {name}, which it names as weights, is not there. Save the model again.")
        files.add(folder / name)
    pickled = [name for name in weights if not name.endswith((".safetensors", ".safetensors.index.json"))]
    if not any(path.suffix == ".safetensors" for path in files):  # or they are what would be loaded
        pickled += sorted(path.name for path in folder.iterdir() if _PICKLED.fullmatch(path.name))
    if pickled:
        raise UserError(
            f"{key}: '{spec}': {pickled[0]} holds pickled weights, which can run code when they are read and are never "
            "loaded. Save the model as safetensors with save_pretrained."
        )
    return sorted(files)


def _hub_commit(spec: str, key: str) -> str:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    cached = try_to_load_from_cache(spec, "config.json")
    if isinstance(cached, str):
        return f"hub:{spec}@{Path(cached).parent.name}"
    try:
        if not HF_HUB_OFFLINE:
            return f"hub:{spec}@{HfApi().model_info(spec, timeout=20).sha}"
        reason = "HF_HUB_OFFLINE is set"
    except (RepositoryNotFoundError, HFValidationError):
        remedy = "Give a hub id, a directory that is there or pip:<package>/<file.gguf>."
        raise UserError(f"{key}: backbone '{spec}' is no directory, and the hub has no such model. {remedy}") from None
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = f"{type(error).__name__}"
    except Exception as error:  # the hub client's transport errors derive from no common class
        reason = f"{type(error).__name__}"
    raise Unreachable(
        f"{key}: backbone '{spec}' is neither a directory nor in the hub cache, and the hub did not answer "
        f"({reason}). Download it first, or name a local directory or pip:<package>/<file.gguf>."
    )
