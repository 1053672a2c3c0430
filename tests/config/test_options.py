"""Options of a class: names, types and defaults of its constructor, meanings of its docstring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from domino_lightning.config.options import Option, class_parser, description, named_instead, options_of, type_name


@dataclass(frozen=True)
class Inner:
    """A group.

    Args:
        size: how many.
    """

    size: int = 3


class Base(ABC):
    @abstractmethod
    def work(self) -> None: ...


class Middle(Base): ...


class Outer(Middle):
    """Does it.

    In two ways.

    Args:
        path: where it
            lies.
        mode: which way.
        share: of all; null: all.
        inner: the group.
    """

    def __init__(
        self, path: str, mode: Literal["a", "b"] = "a", share: float | None = None, inner: Inner = Inner()
    ) -> None: ...

    def work(self) -> None: ...


def test_options_are_those_of_the_constructor_with_the_docstrings_words() -> None:
    assert options_of(class_parser(Outer)) == [
        Option("path", "str", None, "where it lies."),
        Option("mode", "Literal['a', 'b']", "a", "which way."),
        Option("share", "float | null", "null", "of all; null: all."),
        Option("inner.size", "int", "3", "how many."),
    ]


def test_the_description_ends_where_the_arguments_begin() -> None:
    assert description(Outer) == "Does it.\n\nIn two ways."


def test_an_abstract_class_has_the_concrete_ones_below_it() -> None:
    assert named_instead(Base) == [Outer]
    assert named_instead(Outer) == []


def test_types_read_as_they_are_written() -> None:
    assert type_name(int | None) == "int | null"
    assert type_name(list[str]) == "list[str]"
    assert type_name(dict[str, int | bool]) == "dict[str, int | bool]"
    assert type_name(None) == "any"
