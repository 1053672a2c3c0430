"""Solutions kept where they agree by execution; every way of having no answer has its reason."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.domains import Agreement, Answered, CodeGen
from domino_lightning.domains.codegen.agreement import same
from domino_lightning.domains.codegen.inputs import (
    Arguments,
    stated_arguments,
    stated_stdin,
    varied_arguments,
    varied_stdin,
    vary,
)
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

DOMAIN = CodeGen()
TEXT = "Add the numbers of a list that are greater than n.\n\nTests:\nassert add_over([1, 5, 7], 4) == 12"
SUM = "def add_over(numbers, n):\n    return sum(x for x in numbers if x > n)"
LOOP = (
    "def add_over(xs, n):\n    total = 0\n    for x in xs:\n        if x > n:\n            total += x\n    return total"
)
CONSTANT = "def add_over(numbers, n):\n    return 12"
MUTATES = "def add_over(numbers, n):\n    numbers[:] = [x for x in numbers if x > n]\n    return sum(numbers)"


def record(text: str = TEXT) -> Record:
    return {"id": "s-0", **DOMAIN.parse(text)}


def answer(*programs: str, text: str = TEXT, **rule: Any) -> Any:
    completions = [f"Sure:\n```python\n{program}\n```" for program in programs]
    (found,) = DOMAIN.answer([record(text)], 2, [completions], Agreement(**rule))
    return found


def test_the_shortest_of_the_agreeing_solutions_is_the_answer_and_the_rate_is_recorded() -> None:
    found = answer(LOOP, SUM, CONSTANT, MUTATES)
    assert (found.reason, found.record["solution"]) == (None, SUM)
    assert found.record["agreement"] == {"agreeing": 3, "samples": 4, "rate": 0.75, "inputs": 12}
    messages = DOMAIN.pair(found.record)
    assert messages[-1]["content"] == f"```python\n{SUM}\n```"


def test_a_hard_coded_answer_agrees_with_nobody_on_varied_inputs() -> None:
    assert answer(CONSTANT, SUM).reason == "disagree"


@pytest.mark.parametrize(
    ("programs", "reason", "detail"),
    [
        (["def add_over(", "no program"], "no_program", "0 of 2 completions hold a program"),
        ([SUM, SUM.replace(">", ">="), SUM.replace(">", "<")], "disagree", "at most 1 of 3 solutions agree"),
        ([SUM, CONSTANT, SUM.replace(">", "<"), SUM.replace("sum", "max"), LOOP], "disagree", "at most 2 of 5"),
        ([SUM.replace("return", "raise"), LOOP.replace("total", "1", 1)], "no_program", ""),
        (["def add_over(a, b):\n    return 1 / 0"] * 3, "no_inputs", "no input on which most"),
        (["def add_over(a, b):\n    while True: pass"] * 2, "no_inputs", ""),
        (["def add_over(a, b):\n    a.sort()"] * 2, "no_value", "2 solutions agree on returning nothing"),
        ([SUM.replace(">", "<")] * 2, "contradicts_tests", "2 solutions agree; test 1 of 1"),
    ],
)
def test_every_failure_has_its_reason(programs: list[str], reason: str, detail: str) -> None:
    found = answer(*programs, timeout_s=1.0)
    assert (found.reason, "solution" in found.record) == (reason, False)
    assert detail in found.detail


def test_a_record_that_crashes_the_comparison_costs_that_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: Record, *_: Any) -> Any:
        if record["id"] == "bad":
            raise RuntimeError("boom")
        return Answered(record)

    monkeypatch.setattr("domino_lightning.domains.codegen.agreement.answer_by_agreement", broken)
    found = list(DOMAIN.answer([{**record(), "id": "bad"}, record()], 1, [[], []]))
    assert [(each.reason, each.detail) for each in found] == [("crashed", "RuntimeError: boom"), (None, "")]


def test_tests_that_a_model_made_up_need_not_hold() -> None:
    found = answer(SUM.replace(">", "<"), SUM.replace(">", "<"), own_tests=False)
    assert found.reason is None


def test_a_share_can_be_asked_for() -> None:
    assert answer(SUM, LOOP, CONSTANT, min_share=0.5).reason is None
    assert answer(SUM, LOOP, CONSTANT, min_share=0.7).reason == "disagree"


def test_whole_programs_are_compared_by_what_they_print() -> None:
    text = "Print twice the number.\n\nTests:\nInput:\n4\nOutput:\n8"
    twice, added, thrice = "print(2 * int(input()))", "n = int(input())\nprint(n + n)", "print(8)"
    found = answer(added, thrice, twice, text=text, inputs=4)
    assert (found.reason, found.record["solution"]) == (None, twice)


def test_a_solution_class_is_called_through_an_instance() -> None:
    text = (
        "Add one.\n\n```python\nclass Solution:\n    def addOne(self, n):\n```\n\n"
        "Tests:\nassert Solution().addOne(n=1) == 2"
    )
    program = "class Solution:\n    def addOne(self, n):\n        return n + 1"
    found = answer(program, program.replace("n + 1", "1 + n"), text=text)
    assert found.reason is None
    assert found.record["agreement"]["agreeing"] == 2


def test_stated_inputs_are_the_literal_arguments_of_the_tests() -> None:
    tests = "assert f([1], k='a') == g(2)\nx = 3\nassert f(x) == 1\nassert sorted(f((2,), *[])) == [f({3})]"
    assert stated_arguments(record(f"Words.\n\nTests:\n{tests}")) == [
        Arguments(([1],), {"k": "a"}),
        Arguments(({3},), {}),
    ]
    functional = {"entry_point": "f", "tests": [{"type": "functional", "input": "[1, 2]\n3", "output": "1"}]}
    assert stated_arguments(functional) == [Arguments(([1, 2], 3), {})]


def test_variations_are_a_function_of_seed_and_id() -> None:
    problem, stated = record(), [Arguments(([1, 5, 7], 4), {})]
    one = varied_arguments(problem, stated, 12, seed=0)
    assert one == varied_arguments(problem, stated, 12, seed=0)
    assert one != varied_arguments(problem, stated, 12, seed=1)
    assert one != varied_arguments({**problem, "id": "s-1"}, stated, 12, seed=0)
    assert one[0] == stated[0]
    assert len({repr(each) for each in one}) == len(one) == 12


def test_varied_standard_input_keeps_its_layout() -> None:
    given_ = "2 3\nab -4\n"
    found = varied_stdin(record(), [given_], 6, seed=0)
    assert found[0] == given_
    assert len(found) == 6
    assert all(len(text.split()) == 4 and text.count("\n") == 2 and "ab" in text for text in found)
    assert stated_stdin({"tests": [{"type": "stdin", "input": given_}, {"type": "assert", "code": ""}]}) == [given_]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(plain, st.integers(0, 99))
def test_a_variation_has_the_type_of_its_value(value: Any, seed: int) -> None:
    assert type(vary(value, random.Random(seed))) is type(value)


@given(plain)
def test_every_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (0.1 + 0.2, 0.3, True),
        (1, 1.0, True),
        ([1], (1,), False),
        ("1", 1, False),
        ({"a": [0.30000000000000004]}, {"a": [0.3]}, True),
        ({"a": 1}, {"b": 1}, False),
        (None, False, False),
    ],
)
def test_values_are_the_same_up_to_rounding(left: Any, right: Any, expected: bool) -> None:
    assert same(left, right) is expected


@pytest.mark.parametrize("rule", [{"min_share": 0.0}, {"min_share": 1.1}, {"inputs": 0}])
def test_rules_that_make_no_sense_are_refused(rule: Any) -> None:
    with pytest.raises(UserError, match=r"answer\.agreement"):
        Agreement(**rule)
