"""Files and folders that arguments of the user's own classes name: outside content, whatever the class does with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from domino_lightning.config.nodes import class_nodes
from domino_lightning.store.contents import file_hash, folder_hash
from domino_lightning.store.sources import KNOWN
from domino_lightning.utils.jsonl import canonical_json, sha256_text
from domino_lightning.utils.project import is_around, matching, places

# `lists/*.txt` or `*.txt`, and no regular expression.
_GLOB = re.compile(r"(?=.*[*?])[^\\\n\0]*/[^\\\n\0]*|[^/\\\n\0]*\*\.\w+")


def argument_contents(section: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, str]:
    """Dotted keys of arguments that are the path of a file or folder, with its hash; of the user's classes alone.

    A class of this package, and of what it rests on, says itself which of its arguments name content. A folder around
    the project or the working directory, or one that holds a store, is where things lie, what a run writes among them,
    and no content.

    Args:
        section: where the classes are named.
        told: keys of which their class has said what stands for them.
    """
    found = {}
    for node_key, node in class_nodes(section):
        if node.path.partition(".")[0] in KNOWN:
            continue
        texts = [_texts(value, f"{node_key}.init_args.{name}") for name, value in node.init_args.items()]
        for key, text in chain.from_iterable(texts):
            if key not in told and (hashes := sorted(filter(None, map(_hash, _named(text))))):
                found[key] = hashes[0] if len({*hashes}) == 1 else sha256_text(canonical_json(hashes))
    return found


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Texts below a key, names of keys too, but for those of a class named there, which is a node of its own."""
    if isinstance(node, str) and node:
        yield key, node
    elif isinstance(node, Mapping) and "class_path" not in node:
        for name, value in node.items():
            if any(path.is_file() for path in _named(str(name))):
                yield f"{key}.{name} (name)", str(name)
            yield from _texts(value, f"{key}.{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _texts(value, f"{key}.{place}")


def _named(text: str) -> list[Path]:
    """What a text names: a path as it stands, as a URL of a file, with variables of the environment, or as a glob."""
    plain = os.path.expandvars(text.removeprefix("file://"))
    return places(plain) or (matching(plain) if _GLOB.fullmatch(plain) else [])


def _hash(path: Path) -> str | None:
    if path.is_file():
        return file_hash(path)
    return None if is_around(path) or (path / "stages").is_dir() else folder_hash(path)
