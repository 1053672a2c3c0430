"""The resolved document for people: YAML with a comment on what does not come from the defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.utils.masking import masked


def annotated(config: Config) -> str:
    """The document as YAML, secrets masked, with the file and line or the override that each value came from."""
    import yaml

    text = yaml.safe_dump(masked(config.document), sort_keys=False, allow_unicode=True, width=float("inf"))
    lines = text.splitlines()
    for key, line in _leaves(yaml.compose(text, Loader=yaml.SafeLoader)):
        origin = config.where(key)
        if not origin.startswith(config.layers[0].origin):
            lines[line] += f"  # {origin}"
    return "\n".join(lines) + "\n"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Dotted keys of values that are set as a whole, and the line on which a comment may follow.

    That is the last line of a value, or the line of the key where the items of a list follow.
    """
    import yaml

    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, f"{name}.")
        else:
            block = isinstance(value, yaml.SequenceNode) and not value.flow_style
            yield name, (key if block else value).end_mark.line
