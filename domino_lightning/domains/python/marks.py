"""Marks that models leave in their text, such as `</think>` and `<|im_end|>`: which are the model's, which its code's.

A program may well handle the tag `</s>`. A mark inside a fenced block that is Python as a whole, inside a quoted
string, inside inline code or in a comment of a block belongs to the text around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from domino_lightning.domains.python.fences import fenced_blocks, parses

_MANY = 32
_THOUGHT = re.compile(r"</think(?:ing)?>")
_ENDING = (
    "im_end", "im_start", "end", "endoftext", "end_of_text", "end_of_turn", "endofturn", "eot_id", "eom_id", "EOT",
    "END_OF_TURN_TOKEN", "return",
)  # fmt: skip
# `</s>` is also how HTML ends what `<s>` began, and a word in a sentence about it.
_END = re.compile(
    rf"<\|(?:{'|'.join(_ENDING)})\|>|<(?:end|start)_of_turn>|<｜(?:end▁of▁sentence|User)｜>"
    r"|(?<!<s>)</s>(?![ \t]+[a-z])"
)
_QUOTED = re.compile(
    r"(?<!\w)[rRbBuUfF]{0,2}(?P<quote>'''|\"\"\"|'|\")(?:\\.|(?!(?P=quote))[^\\\n])*(?P=quote)(?!\w)|`[^`\n]+`"
)


def answer_part(text: str) -> str:
    """What is left of a reply without the reasoning before it and what follows an end-of-turn mark."""
    thoughts = list(own_marks(_THOUGHT, text))
    if thoughts:
        text = text[thoughts[-1].end() :]
    end = next(own_marks(_END, text), None)
    return text if end is None else text[: end.start()]


def own_marks(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches that do not lie in code or in quotes; of very many the first and the last."""
    found = list(pattern.finditer(text))
    blocks = [(start, end, parses(text[start:end])) for _, start, end in fenced_blocks(text)] if found else []
    for match in found if len(found) <= 2 * _MANY else found[:_MANY] + found[-_MANY:]:
        start, end, whole = next((each for each in blocks if each[0] <= match.start() < each[1]), (0, 0, False))
        if not (whole or _is_quoted(text, match) or _is_in_code(text, match, start, end)):
            yield match


def _is_quoted(text: str, match: re.Match[str]) -> bool:
    """Whether a string or inline code on its line holds it."""
    begin = text.rfind("\n", 0, match.start()) + 1
    line, place = text[begin : (text.find("\n", match.end()) + 1) or len(text)], match.start() - begin
    before = line[:place]
    if match.group().startswith("</s") and before.rfind("<s>") > before.rfind("</s>"):
        return True  # it ends what that began
    return any(span.start() <= place < span.end() for span in _QUOTED.finditer(line))


def _is_in_code(text: str, match: re.Match[str], start: int, end: int) -> bool:
    """Whether a mark in a block that is no Python as a whole belongs to its code all the same, and does not end it."""
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    rest = text[match.end() : end].partition("\n")[0].strip()
    return start < end and ("#" in line or bool(rest) and not parses(text[start : match.start()]))
