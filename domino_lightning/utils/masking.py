"""Secrets in settings, by the names and shapes they usually have, replaced before anything is stored or sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_TOKENS = r"(?:auth|access|api|hub|hf|bearer|refresh|session)_?tokens?"
_NAMES = rf"(?:api|access|private)_?key|secret(?:_?key)?|password|passwd|passphrase|credentials?|{_TOKENS}"
_KEY = re.compile(rf"(?:.*_)?(?:{_NAMES})|token", re.IGNORECASE)  # but not eos_token
_PAIR = re.compile(rf"((?:^|[.\s,{{'\"_])(?:{_NAMES})['\"]?\s*[:=]\s*)(['\"]?)([^\s,}}\]'\"]+)", re.IGNORECASE)
_SHAPE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16})\b"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def masked(node: Any) -> Any:
    """The tree with what looks like a secret replaced: values under telling keys, and texts of telling shapes."""
    if isinstance(node, Mapping):
        return {key: MASK if _tells(key) and isinstance(value, str) and value else masked(value)
                for key, value in node.items()}  # fmt: skip
    if isinstance(node, (list, tuple)):
        return [masked(value) for value in node]
    return _SHAPE.sub(MASK, node) if isinstance(node, str) else node


def masked_override(text: str) -> str:
    """`dotted.key=value` with secrets in the value replaced, in a mapping that it may be too."""
    key, sign, value = text.partition("=")
    if sign and _tells(key) and not value.startswith(("{", "[")):
        return f"{key}={MASK}"
    return _SHAPE.sub(MASK, _PAIR.sub(rf"\1\2{MASK}", text))


def _tells(key: Any) -> bool:
    return isinstance(key, str) and bool(_KEY.fullmatch(key.rpartition(".")[2]))
