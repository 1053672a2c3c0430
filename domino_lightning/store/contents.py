"""Names of outside content (`pip:<package>/<file>`, paths, hub ids), where it lies, and its content hash."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from domino_lightning.errors import Unreachable, UserError
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import sha256_file, sha256_text

PIP = "pip:"
HUB_DATASET = "hf:"


def cache_dir() -> Path:
    """Where derived files are kept: $DOMINO_CACHE, or domino_lightning/ under the user's cache."""
    base = os.environ.get("DOMINO_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "domino_lightning"


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
    """Hex sha256 of a file, remembered by (path, size, modification time) so that large ones are read once."""
    stat = path.stat()
    label = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    if stat.st_size < 1 << 20:
        return sha256_file(path)
    memo = cache_dir() / "hashes" / sha256_text(label)[:32]
    try:
        return memo.read_text()
    except OSError:
        digest = sha256_file(path)
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(memo) as temporary:
            temporary.write_text(digest)
    except OSError:  # a cache that cannot be written only costs time
        return digest
    return digest


def data_hash(spec: str, key: str) -> str:
    """Content hash of a data source: the file's bytes, or the dataset id as it stands for an `hf:` source.

    Raises:
        UserError: the file does not exist.
    """
    if spec.startswith(HUB_DATASET):
        return spec
    return file_hash(data_file(spec, key))


def data_file(spec: str, key: str) -> Path:
    """The local file of a data source.

    Raises:
        UserError: the file does not exist.
    """
    path = packaged_file(spec, key) if spec.startswith(PIP) else Path(spec)
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
        UserError: the spec names nothing that is there.
    """
    if spec.startswith(PIP):
        return file_hash(packaged_file(spec, key))
    folder = Path(spec)
    if spec and folder.is_dir():
        parts = {
            path.name: file_hash(path)
            for path in sorted(folder.iterdir())
            if path.suffix in {".json", ".safetensors", ".jinja", ".model", ".txt"} and path.is_file()
        }
        if "config.json" not in parts:
            raise UserError(f"{key}: '{spec}': the directory has no config.json; save a model with save_pretrained.")
        return sha256_text(json.dumps(parts, sort_keys=True))
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1 or not spec:
        raise UserError(f"{key}: '{spec}': no such directory.")
    return _hub_commit(spec, key)


def _hub_commit(spec: str, key: str) -> str:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cached = try_to_load_from_cache(spec, "config.json")
    if isinstance(cached, str):
        return f"hub:{spec}@{Path(cached).parent.name}"
    try:
        if not HF_HUB_OFFLINE:
            return f"hub:{spec}@{HfApi().model_info(spec, timeout=20).sha}"
        reason = "HF_HUB_OFFLINE is set"
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = f"{type(error).__name__}"
    except Exception as error:  # the hub client's transport errors derive from no common class
        reason = f"{type(error).__name__}"
    raise Unreachable(
        f"{key}: backbone '{spec}' is neither a directory nor in the hub cache, and the hub did not answer "
        f"({reason}). Download it first, or name a local directory or pip:<package>/<file.gguf>."
    )
