"""The filter that runs programs: what each misbehavior is called, and that honest programs pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from domino_lightning.curation import Candidate, Context, Executes, curate
from domino_lightning.domains import CodeExec, CodeGen

DOMAIN = CodeExec()


def details(*bodies: str, workers: int = 2, head: str = "", timeout_s: float = 1.0) -> list[str | None]:
    made = Executes(timeout_s=timeout_s)
    made.open(Context(DOMAIN, [], workers=workers))
    texts = [f"{head}def f(a):\n    {body}\n\nf([3, 1, 2])" for body in bodies]
    return list(made.review([Candidate({"id": str(n), "text": text}, DOMAIN) for n, text in enumerate(texts)]))


def test_honest_programs_pass_in_order() -> None:
    honest = [
        "return sorted(a)",
        "a.append(1); return a",
        "return {1, 2}",
        "return set('abcdefgh')",
        "return sorted(set('ab'))",
        "return {'k': (a, None)}",
        "return [None]",
    ]
    assert details(*honest, "return a / 0", "return a")[:7] == [None] * 7


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("return a[9]", "error: IndexError"),
        ("return lambda: a", "error: "),
        ("a.sort()", "no_value: returns None"),
        ("while True: pass", "slow: "),
        ("print(a); return a", "side_effect: prints '[3, 1, 2]\\n'"),
        ("open('x.txt', 'w').write('1'); return a", "side_effect: opens a file for writing"),
        ("import os; os.mkdir('d'); return a", "side_effect: calls os.mkdir"),
        ("import time; return time.time_ns()", "nondeterministic: "),
        ("import random; return random.random()", "nondeterministic: "),
        ("return list(set('abcdefgh'))", "nondeterministic: another interpreter gives another value"),
        ("return hash('a')", "nondeterministic: another interpreter gives another value"),
    ],
)
def test_misbehavior_is_named(body: str, detail: str) -> None:
    (found,) = details(body)
    assert str(found).startswith(detail)


@pytest.mark.parametrize(
    "body",
    [
        "return id(a)",
        "return id([]) // 16 % 5003",
        "return id(1.5)",
        "return id(None)",
        "return repr(object())",
        "return hash(object())",
        "return str(x for x in a)",
        "return ' '.join(str(x for x in a))",
        "return '-'.join(str(lambda: 1))",
        "import re; return str(re.compile)",
        "return str(a.append)[::-1]",
        "return [str(zip(a, a)), 1]",
    ],
)
def test_a_value_that_hangs_on_an_address_is_no_answer(body: str) -> None:
    (found,) = details(body)
    assert str(found).startswith("nondeterministic: ")


def test_a_text_that_looks_like_an_address_is_an_answer() -> None:
    assert details("return hex(sum(a) << 40)", "return '<' + hex(sum(a) << 40)", "return str(type(a))") == [None] * 3


def test_future_imports_and_redefined_builtins_do_not_disturb_it() -> None:
    assert details("return sorted(a)", head="from __future__ import annotations\n") == [None]
    assert details("return sorted(a)", head="def sorted(x):\n    return 7\n") == [None]


def test_a_record_without_a_program_passes() -> None:
    text = "Double it.\n\nTests:\nassert f(1) == 2"
    made = Executes()
    made.open(Context(CodeGen(), []))
    assert list(made.review([Candidate({"id": "s", "text": text}, CodeGen())])) == [None]


def test_a_record_that_crashes_the_domain_costs_that_row_alone() -> None:
    class Fragile(CodeExec):
        def program(self, record: Mapping[str, Any]) -> Any:
            if record["id"] == "1":
                raise RuntimeError("boom")
            return super().program(record)

    rows = [{"id": str(n), "text": f"def f(a):\n    return a\n\nf({n})"} for n in range(4)]
    accepted, rejected, _ = curate(rows, [Executes()], Context(Fragile(), []))
    assert [row["id"] for row in accepted] == ["0", "2", "3"]
    assert rejected[0]["detail"] == "filter crashed: RuntimeError: boom"


def test_what_is_said_of_a_failure_is_the_same_in_every_run() -> None:
    body = "raise ValueError(object())"
    assert details(body) == details(body) == ["error: ValueError: <object object at 0x...> (line 2)"]


def test_returning_none_can_be_allowed() -> None:
    made = Executes(none=True)
    made.open(Context(DOMAIN, []))
    assert made.reject(Candidate({"id": "s", "text": "def f(a):\n    a.sort()\n\nf([2])"}, DOMAIN)) is None
