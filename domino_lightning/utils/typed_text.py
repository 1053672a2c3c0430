"""Text that stands for a value of another type."""

from __future__ import annotations


class TypedText(str):
    """The text of what a table holds as a date, a decimal and the like: fine to read, but no code and no literal."""

    __slots__ = ("kind",)
    kind: str  # the type's name

    def __new__(cls, value: object) -> TypedText:
        """The value's text."""
        made = super().__new__(cls, str(value))
        made.kind = type(value).__name__
        return made
