"""An answer that is a value in a table: how it reads as text, and which texts are the same answer."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_CHARS = 400  # of a number


def as_text(value: Any) -> str | None:
    """A value's text, as an f-string has it, lists and objects as JSON; None where a table has none: null, NaN."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    return str(value) if isinstance(value, str | bool | int | float) else json.dumps(value, ensure_ascii=False)


def is_same(text: str, value: Any) -> bool:
    """Whether a text is a value but for layout: numbers equal as numbers, true and false whatever their case."""
    wanted, found = (as_text(value) or "").split(), text.split()
    if found == wanted:
        return True
    if len(found) != 1 or not isinstance(value, bool | int | float):
        return False
    if isinstance(value, bool):
        return found[0].casefold() == str(value).casefold()
    number = _number(found[0])
    return number is not None and (
        number == _number(str(value)) or (isinstance(value, float) and float(number) == value)
    )


def _number(text: str) -> Decimal | None:
    if len(text) > _MAX_CHARS or not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # its exponent is beyond all bounds
        return None
