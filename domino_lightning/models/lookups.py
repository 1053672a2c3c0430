"""What is asked of a backbone before it is loaded, each asked of transformers once: it takes seconds to answer."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from domino_lightning.models.backbone import load_config, load_tokenizer, local_source, positions
from domino_lightning.store.contents import cache_dir
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import sha256_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def positions_of(spec: str) -> int | None:
    """`positions` of a backbone by its configuration alone.

    Remembered by the configuration's content and the version of transformers, and only where it was accepted.

    Raises:
        UserError: the spec names nothing that can be loaded.
        Unreachable: it is on a hub that does not answer.
    """
    text = _config_text(local_source(spec, "model"))
    if text is None:
        return positions(load_config(spec))
    memo = cache_dir() / "positions" / sha256_text(f"{version('transformers')}|{text}")[:32]
    with suppress(OSError, ValueError):
        found = json.loads(memo.read_text())
        if found is None or type(found) is int:
            return found
    found = positions(load_config(spec))
    with suppress(OSError):  # a cache that cannot be written only costs time
        memo.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(memo) as temporary:
            temporary.write_text(json.dumps(found))
    return found


def read_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone, the same object every time while its files stay as they are: not to be changed.

    Raises:
        UserError: see `load_tokenizer`.
    """
    source = local_source(spec, "tokenizer")
    folder = Path(source)
    found = [(path.name, path.stat()) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return _tokenizer(spec, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))


@lru_cache(maxsize=4)
def _tokenizer(spec: str, state: tuple[tuple[str, int, int], ...]) -> PreTrainedTokenizerBase:
    return load_tokenizer(spec)


def _config_text(source: str) -> str | None:
    """The configuration of a directory or of a model in the hub's cache; None where it is not at hand."""
    path: str | Path | None = Path(source) / "config.json"
    if not Path(source).is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            path = try_to_load_from_cache(source, "config.json")
        except HFValidationError:  # loading says what is wrong with it
            return None
    if not isinstance(path, (str, Path)):
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
