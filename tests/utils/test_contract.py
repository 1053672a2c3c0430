"""A fork's class that gives something else than its base class says is told by name, in one line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytest

from domino_lightning.utils.contract import BrokenContract, Contract, check_attributes, one_each, one_each_in
from domino_lightning.utils.ranges import ONE_OR_MORE, UNIT


class Pick(NamedTuple):
    """A thing that was picked."""

    name: str
    weight: float
    count: int = 0
    share: Annotated[float, UNIT] = 0.0

    def fault(self) -> str | None:
        return "count" if self.count < 0 else None


class Picker(Contract, ABC, more="Its page says more."):
    """A base class as the package has them."""

    label: ClassVar[str]
    size: ClassVar[int | None] = None
    mode: Literal["near", "far"] = "near"
    block: ClassVar[Annotated[int, ONE_OR_MORE] | None] = None

    @abstractmethod
    def pick(self, rows: Sequence[int]) -> Any:
        """Anything."""

    def why(self, row: int) -> str | None:
        return None

    def pair(self, row: int) -> tuple[float, str | None]:
        return 1, None

    def picked(self, row: int) -> Pick:
        return Pick("x", 1.0)

    @one_each
    def each(self, rows: Sequence[int]) -> Iterator[Pick]:
        return iter(Pick(str(row), 1.0) for row in rows)

    @one_each
    def together(self, rows: Sequence[int]) -> list[list[bool]]:
        return [[True] for _ in rows]

    @one_each_in("tries")
    def tried(self, rows: Sequence[int], tries: Sequence[Sequence[str]]) -> Iterator[list[bool]]:
        return iter([True] * len(each) for each in tries)

    def facts(self) -> dict[str, Any]:
        return {}

    def portions(self) -> Mapping[str, Sequence[Annotated[float, UNIT]]]:
        return {}

    def shares(self) -> Mapping[str, Sequence[float]]:
        return {}

    def open(self) -> None:
        return

    @classmethod
    def small(cls) -> tuple[str, ...]:
        return ()


def returns(value: Any) -> Any:
    """A method that returns it."""
    return lambda *_: value


def made(**values: Any) -> Any:
    """An object of a class that a fork derives, with what its methods return."""
    methods = {"pick": returns(None)} | {name: returns(value) for name, value in values.items()}
    return type("Mine", (Picker,), {"label": "mine", "__module__": "my_forks", **methods})()


@pytest.mark.parametrize(
    ("method", "value", "words"),
    [
        ("pair", (1, "a", "b"), "must return a tuple of a number, a text or None, and returned (1, 'a', 'b')"),
        ("pair", [1, "a"], "and returned [1, 'a'] (of type list)"),
        ("pair", (1, 2), "in what it returned [1] is 2"),
        ("picked", Pick("a", 1.0, 0, 3.0), ".share is 3.0 (of type float); it must be a number from 0 to 1"),
        ("why", False, "why must return a text or None, and returned False"),
        ("why", 5, "and returned 5 (of type int)"),
        ("picked", None, "must return a Pick(name, weight, count, share), and returned None"),
        ("picked", ("a", 1.0, 0, 0.0), "(of type tuple)"),
        ("picked", Pick(3, 1.0), "in what it returned .name is 3"),  # type: ignore[arg-type]
        ("picked", Pick("a", True), ".weight is True"),
        ("picked", Pick("a", 1.0, -2), ".count is -2 (of type int)"),
        ("picked", Pick("a", 1.0, np.int64(2)), ".count is np.int64(2) (of type int64; write int(...) around it)"),  # type: ignore[arg-type]
        ("picked", Pick("a", np.float32(2)), "write float(...) around it"),  # type: ignore[arg-type]
        ("each", None, "each must return a list, each item a Pick(name, weight, count, share), and returned None"),
        ("each", "ab", "and returned 'ab' (of type str)"),
        ("each", {1, 2}, "and returned {1, 2} (of type set)"),
        ("each", ["a", "b"], "in what it returned [0] is 'a' (of type str)"),
        ("each", [Pick("a", 1.0)], "one result for each of the 2 it was given, and gave 1"),
        ("each", [Pick("a", 1.0)] * 3, "one result for each of the 2 it was given, and gave more"),
        ("together", [[True], [1]], "in what it returned [1][0] is 1 (of type int)"),
        ("together", [[True], True], "in what it returned [1] is True"),
        ("facts", {"a": {"b": [1, {2}]}}, "in what it returned ['a']['b'][1] is {2} (of type set)"),
        ("facts", {3: 1}, "key is 3"),
        ("facts", [1], "must return a dict by names, each value what JSON can hold, and returned [1]"),
        ("shares", {"a": [0.5, "b"]}, "in what it returned ['a'][1] is 'b'"),
        ("portions", {"a": [0.5, 3.0]}, "each item a number from 0 to 1, and in what it returned ['a'][1] is 3.0"),
        ("portions", {"a": [float("nan")]}, "['a'][0] is nan"),
        ("portions", {"a": [-0.1]}, "['a'][0] is -0.1"),
        ("portions", {"a": [True]}, "['a'][0] is True"),
        ("tried", [[True], []], "must return as many items in [0] as tries[0] has, 2, and gave 1"),
        ("tried", [[True, True], [True]], "must return as many items in [1] as tries[1] has, 0, and gave 1"),
        ("tried", [[True, True]], "one result for each of the 2 it was given, and gave 1"),
    ],
)
def test_what_a_method_returned_is_told(method: str, value: Any, words: str) -> None:
    many = {"each": ([1, 2],), "together": ([1, 2],), "tried": ([1, 2], [["a", "b"], []])}
    given = many.get(method, () if method in ("facts", "shares", "portions") else (1,))
    with pytest.raises(BrokenContract) as caught:
        found = getattr(made(**{method: value}), method)(*given)
        list(found)
    message = str(caught.value)
    assert message.startswith("my_forks.Mine breaks tests.utils.test_contract.Picker: ")
    assert words in message and message.endswith(" Its page says more.") and "\n" not in message


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("why", ""),
        ("picked", Pick("a", 1)),
        ("picked", Pick("a", np.float64(1))),
        ("shares", {"a": np.array([0.5, 1.0])}),
        ("facts", {"a": [1, (2, None)], "b": {"c": 0.5}}),
        ("open", "whatever nobody asked for"),
        ("pick", object()),
    ],
)
def test_what_keeps_the_contract_is_given_on(method: str, value: Any) -> None:
    given = () if method in ("facts", "shares", "open") else (1,)
    assert getattr(made(**{method: value}), method)(*given) is value


def test_any_iterable_will_do_where_items_are_asked_for_and_is_looked_at_as_it_comes() -> None:
    seen = []

    class Slow(Picker):
        label = "slow"

        def pick(self, rows: Sequence[int]) -> Any:
            return None

        def each(self, rows: Sequence[int]) -> Iterator[Pick]:
            for row in rows:
                seen.append(row)
                yield Pick(str(row), 1.0)

        def together(self, rows: Sequence[int]) -> Any:
            return ([row > 1] for row in rows)

    found = Slow().each([1, 2])
    assert seen == [] and next(found) == Pick("1", 1.0) and seen == [1]
    assert Slow().together([1, 2]) == [[False], [True]]


def test_a_method_of_the_class_is_held_too() -> None:
    class Wide(Picker):
        label = "wide"

        def pick(self, rows: Sequence[int]) -> Any:
            return None

        @classmethod
        def small(cls) -> Any:
            return "tune"

    with pytest.raises(BrokenContract, match="Wide breaks .*: small must return a list, each item a text"):
        Wide.small()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "it has no 'label': give it one, a text"),
        ({"label": 5}, "'label' must be a text, and label is 5"),
        ({"label": "a", "size": "b"}, "'size' must be a whole number or None, and size is 'b'"),
        ({"label": "a", "block": 0}, "'block' must be a whole number 1 or more or None, and block is 0"),
        ({"label": "a", "mode": "about"}, "'mode' must be one of 'near', 'far', and mode is 'about'"),
    ],
)
def test_an_attribute_that_is_missing_or_another_is_told_wherever_the_object_is_held(
    attributes: dict[str, Any], words: str
) -> None:
    odd = type("Odd", (Picker,), {"pick": lambda *_: None, **attributes})()
    holder = type("Holder", (), {})()
    holder.parts = [{"inner": odd}]
    with pytest.raises(BrokenContract) as caught:
        check_attributes(holder)
    assert words in str(caught.value)
    holder.parts = [made()]
    check_attributes(holder)


@pytest.mark.parametrize("code", [0, None, "bye"])
def test_a_method_that_would_end_the_process_breaks_its_contract(code: object) -> None:
    class Ends(Picker):
        label = "ends"

        def pick(self, rows: Sequence[int]) -> Any:
            raise SystemExit(code)

        def each(self, rows: Sequence[int]) -> Iterator[Pick]:
            yield Pick("first", 1.0)
            raise SystemExit(code)

    with pytest.raises(
        BrokenContract, match=r"Ends breaks .*: pick must return or raise an error, and called"
    ) as caught:
        Ends().pick([1])
    assert f"sys.exit({code!r})" in str(caught.value) and "in pick\n    raise SystemExit(code)" in str(caught.value)
    found = Ends().each([1, 2])
    assert next(found) == Pick("first", 1.0)
    with pytest.raises(BrokenContract, match="each must return or raise an error"):
        next(found)


def test_ctrl_c_in_a_forks_method_is_the_users() -> None:
    class Interrupted(Picker):
        label = "interrupted"

        def pick(self, rows: Sequence[int]) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted().pick([1])


def test_an_exception_of_the_fork_passes_as_it_is() -> None:
    class Raises(Picker):
        label = "raises"

        def pick(self, rows: Sequence[int]) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Raises().pick([1])


def test_a_method_may_take_more_than_its_contract_has() -> None:
    class Wider(Picker):
        label = "wider"

        def pick(self, row: int) -> Pick | None:
            return None

        def tried(
            self, rows: Sequence[int], tries: Sequence[Sequence[str]], strict: bool = False
        ) -> Iterator[list[bool]]:
            return iter([strict] * (len(each) + strict) for each in tries)

    assert list(Wider().tried([1], [["a", "b"]])) == [[False, False]]
    with pytest.raises(BrokenContract, match="tries.0. has, 2, and gave 3"):
        list(Wider().tried([1], [["a", "b"]], strict=True))


def test_rows_without_a_length_are_counted_by_what_goes_with_them() -> None:
    mine = made(tried=[[True], [True]])
    with pytest.raises(BrokenContract, match="one result for each of the 1 it was given, and gave more"):
        list(mine.tried(iter([1]), [["a"]]))
