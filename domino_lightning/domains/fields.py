"""Fields of raw rows, of the type that they must have; null and an empty text are how tables say that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import RepeatedKey, parse_json
from domino_lightning.utils.typed_text import TypedText


def is_given(row: Mapping[str, Any], field: str) -> bool:
    """Whether a row has a field that is neither null nor an empty text; 0, `{}` and `[]` are values."""
    value = row.get(field)
    return value is not None and value != ""


def text(row: Mapping[str, Any], field: str, where: str, default: str | None = None) -> str:
    """A text; without a default it must not be empty.

    Raises:
        UserError: it is none.
    """
    value = row.get(field, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise UserError(f"{where}: field '{field}' must be a string that is not empty; it is {value!r}.")
    return value


def code(row: Mapping[str, Any], field: str, where: str, default: str | None = None) -> str:
    """A text that is read as Python or as a literal: the text of a table's date or decimal is another's.

    Raises:
        UserError: it is none.
    """
    return as_code(text(row, field, where, default), f"{where}: field '{field}'")


def as_code(value: str, name: str) -> str:
    """The text, if it is one in its table too.

    Raises:
        UserError: it stands for a value of another type.
    """
    if isinstance(value, TypedText):
        raise UserError(
            f"{name} must be a string; it is a {value.kind} ({value}) in its column, and its text is another literal. "
            "Store what is meant as text."
        )
    return value


def optional_code(row: Mapping[str, Any], field: str, where: str) -> str:
    """A text of code that need not be there; empty where it is not.

    Raises:
        UserError: it is there and no text.
    """
    return "" if row.get(field) is None else code(row, field, where, "")


def texts(row: Mapping[str, Any], field: str, where: str) -> list[str]:
    """A list of texts; empty where it is not given.

    Raises:
        UserError: it is given and something else.
    """
    values = row[field] if is_given(row, field) else []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: field '{field}' must be a list of strings; it is {str(values)[:80]!r}.")
    return values


def codes(row: Mapping[str, Any], field: str, where: str) -> list[str]:
    """A list of texts of code; empty where it is not given.

    Raises:
        UserError: it is given and something else.
    """
    named = enumerate(texts(row, field, where))
    return [as_code(value, f"{where}: field '{field}[{number}]'") for number, value in named]


def from_json(value: str, name: str) -> Any:
    """What a JSON text holds; `name` begins the error.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return parse_json(value)
    except RepeatedKey as error:
        raise UserError(f"{name}: {error}: {value[:60]!r}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON ({error}): {value[:60]!r}.") from None
