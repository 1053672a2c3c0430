"""Code generation: problems as texts and back, prompts and pairs."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.domains import CodeGen, Unparsable
from domino_lightning.domains.codegen.domain import EXAMPLE
from tests.domains.codegen.problems import DOMAIN, DOUBLE, functional, problem, stdin, verdict


@pytest.mark.parametrize(
    "record",
    [
        problem("assert double(1) == 2", "assert double(\n    0\n) == 0"),
        problem("import math\nassert math.isclose(double(1), 2)", "assert double(0) == 0"),
        problem("assert double(1) == 2", starter_code="import re\n\ndef double(x: int):\n    '''Twice.'''"),
        problem("assert double(1) == 2", prompt="Like this:\n\n```\n1 -> 2\n```\n\nTests:\nnone yet"),
        problem(stdin("1\n\n2", "3"), stdin("", "0")),
    ],
    ids=["asserts", "imports", "starter", "awkward statement", "programs"],
)
def test_a_problem_reads_back_from_its_text(record: dict[str, Any]) -> None:
    parsed = DOMAIN.parse(record["text"])
    assert parsed == {name: value for name, value in record.items() if name != "id"}


def test_functional_tests_read_back_as_assertions() -> None:
    record = problem(functional('[1, null]\n"a"', "true"), starter_code="def f(xs, s):")
    assert DOMAIN.parse(record["text"])["tests"] == [{"type": "assert", "code": "assert f([1, None], 'a') == True"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ", "empty"),
        ("Double it.", "no_tests"),
        ("Double it.\n\nTests:\n", "no_tests"),
        ("\nTests:\nassert f(1) == 1", "no_tests"),
        ("\u200b\n\nTests:\nassert f(", "syntax"),
        ("Do it.\n\nTests:\nprint(f(1))", "tests"),
        ("Do it.\n\nTests:\nassert f(1)\nx = 1", "tests"),
        ("Do it.\n\nTests:\nx = 1; assert f(x)", "tests"),
        ("Do it.\n\nTests:\nInput:\n3", "tests"),
        ("Do it.\n\nTests:\nassert 1 == 1", "entry_point"),
        ("Do it.\n\n```python\ndef g(x):\n```\n\nTests:\nassert f(1)", "entry_point"),
        ("Do it.\n\n```python\ndef (x):\n```\n\nTests:\nassert f(1)", "syntax"),
        ("Do it.\n\nTests:\nassert f(" + "x" * 20_001 + ")", "too_long"),
    ],
)
def test_a_text_that_is_no_problem_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        DOMAIN.parse(text)
    assert caught.value.reason == reason


def test_prompt_and_pair_ask_for_a_python_block() -> None:
    record = problem("assert double(1) == 2", solution=DOUBLE)
    question, answer = DOMAIN.pair(record)
    assert record["text"] in question["content"]
    assert answer == {"role": "assistant", "content": f"```python\n{DOUBLE}\n```"}
    assert [message["role"] for message in DOMAIN.prompt(record)] == ["user", "assistant", "user"]
    assert DOMAIN.prompt(record)[-1] == question


def test_instruction_system_message_and_example_can_be_chosen() -> None:
    record = problem("assert double(1) == 2", solution=DOUBLE)
    plain = CodeGen(instruction="Write it.", example=False).prompt(record)
    assert plain == [{"role": "user", "content": f"Write it.\n\n{record['text']}"}]
    spoken = CodeGen(system="You are terse.")
    assert [message["role"] for message in spoken.prompt(record)] == ["system", "user", "assistant", "user"]
    assert [message["role"] for message in spoken.pair(record)] == ["system", "user", "assistant"]


def test_grading_rules_and_limits_are_the_domains() -> None:
    record = problem(functional("1", "true"), starter_code="def f(x):")
    texts = ["def f(x):\n    return x", "def f(x):\n    while True: pass"]
    (strict,) = CodeGen(timeout_s=0.5).grade([record], [texts], workers=2)
    assert [verdict.status for verdict in strict] == ["failed", "timeout"]  # 1 is not true
    (lenient,) = CodeGen(compat="lcb").grade([record], [texts[:1]], workers=1)
    assert lenient[0].passed


def test_the_worked_example_is_right() -> None:
    record = DOMAIN.read(EXAMPLE, "example")
    assert verdict(record, DOMAIN.pair(record)[-1]["content"]).passed
