"""What is asked of a backbone before it is loaded, each asked of transformers once: it takes seconds to answer.

Answers are kept in the cache under the content that they follow from, so that other files are asked anew; what is
refused is never kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.models.backbone import causal_config, load_config, load_tokenizer, local_source, positions
from domino_lightning.models.weights import check_packages, read_model
from domino_lightning.store.contents import backbone_hash, cache_dir, file_hash
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import canonical_json, read_object, sha256_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PACKAGE = Path(__file__).parents[1]
# What decides how many tokens a text comes to, besides the tokenizer.
_CODE = ("data/chat.py", "data/lengths.py", "data/text.py", "generation/prompts.py", "models/backbone.py")
_TOKENIZER_SUFFIXES = {".json", ".jinja", ".model", ".txt"}


def positions_of(spec: str) -> int | None:
    """`positions` of a backbone by its configuration alone.

    Raises:
        UserError: the spec names nothing that can be loaded.
        Unreachable: it is on a hub that does not answer.
    """
    config = _at_hand(local_source(spec, "model"), "config.json")
    key = None if config is None else f"{version('transformers')}|{file_hash(config)}"
    found: int | None = _kept("positions", key, lambda: positions(load_config(spec)), _is_limit)
    return found


def check_weights(spec: str, where: str) -> None:
    """Refuse a model that transformers could not load, by its configuration and the headers of its weights.

    One on a hub whose weights are not at hand yet is left to its loading.

    Args:
        spec: of the backbone.
        where: key of the document that names it.

    Raises:
        UserError: its weights are missing, damaged, or not those that the configuration describes.
        Unreachable: it is on a hub that does not answer.
    """
    source = local_source(spec, "model")
    if not Path(source).is_dir() and not (source := _snapshot(source)):
        return
    key = f"{version('transformers')}|{file_hash(_PACKAGE / 'models/weights.py')}|{backbone_hash(spec, where)}"
    _kept("weights", key, lambda: _loads(f"{where}: backbone '{spec}'", spec, source), lambda known: known is True)


def _loads(where: str, spec: str, source: str) -> bool:
    config = causal_config(spec)
    if not check_packages(where, config):
        read_model(where, source, config=config, device_map="meta", dtype="auto", use_safetensors=True)
    return True


def _snapshot(spec: str) -> str:
    """The folder of the hub's cache that has a model with its weights; empty where it has not."""
    config, index = _at_hand(spec, "config.json"), _at_hand(spec, "model.safetensors.index.json")
    if config is None:
        return ""
    named = {} if index is None else read_object(index).get("weight_map")
    files = set(named.values()) if isinstance(named, dict) and named else {"model.safetensors"}
    return str(config.parent) if all((config.parent / name).is_file() for name in files) else ""


def kept_counts(spec: str, asked: Any, count: Callable[[], Sequence[int]]) -> list[int]:
    """Numbers of tokens, counted once for the same tokenizer and the same texts.

    Args:
        spec: of the tokenizer.
        asked: what is counted, as JSON; else it is counted every time.
        count: counts it, and raises what is to be told.
    """
    try:
        text = canonical_json(asked)
    except (TypeError, ValueError):
        return list(count())
    state = _tokenizer_hash(spec)
    key = None if state is None else f"{version('transformers')}|{_code_hash()}|{state}|{text}"
    found: list[int] = _kept("lengths", key, lambda: list(count()), _are_counts)
    return found


def read_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone, the same object every time while its files stay as they are: not to be changed.

    Raises:
        UserError: see `load_tokenizer`.
    """
    state = _tokenizer_hash(spec)
    return load_tokenizer(spec) if state is None else _tokenizer(spec, state)


@lru_cache(maxsize=4)
def _tokenizer(spec: str, state: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(spec)


def _kept(kind: str, key: str | None, ask: Callable[[], Any], is_answer: Callable[[Any], bool]) -> Any:
    """The answer that the cache has under a key, or the one that is given now; a key of None is never kept."""
    if key is None:
        return ask()
    memo = cache_dir() / kind / sha256_text(key)[:32]
    with suppress(OSError, ValueError):
        known = json.loads(memo.read_text())
        if is_answer(known):
            return known
    found = ask()
    with suppress(OSError):  # a cache that cannot be written only costs time
        memo.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(memo) as temporary:
            temporary.write_text(json.dumps(found))
    return found


def _is_limit(value: Any) -> bool:
    return value is None or type(value) is int


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int for each in value)


@cache
def _code_hash() -> str:
    return sha256_text("|".join(file_hash(_PACKAGE / name) for name in _CODE))


def _tokenizer_hash(spec: str) -> str | None:
    """Of all files that a tokenizer may be read from; None where they are not at hand."""
    one = _at_hand(local_source(spec, "tokenizer"), "tokenizer_config.json")
    if one is None:
        return None
    folder = one.parent
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in _TOKENIZER_SUFFIXES and path.is_file()]
    return sha256_text(json.dumps({path.relative_to(folder).as_posix(): file_hash(path) for path in files}))


def _at_hand(source: str, name: str) -> Path | None:
    """A file of a directory or of a model in the hub's cache; None where it is not there."""
    if Path(source).is_dir():
        path: Any = Path(source) / name
    else:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            path = try_to_load_from_cache(source, name)
        except HFValidationError:  # loading says what is wrong with it
            return None
    return Path(path) if isinstance(path, (str, Path)) and Path(path).is_file() else None
