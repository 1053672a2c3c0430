"""Code execution: rows read, texts read back, answers executed, completions graded."""

from __future__ import annotations

import ast
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import read_jsonl
from domino_lightning.utils.typed_text import TypedText

DOMAIN = CodeExec()
CODE = "def f(a, b=0):\n    return a + b"


def record(arguments: str = "1, 2", **fields: Any) -> dict[str, Any]:
    return DOMAIN.read({"id": "r", "code": CODE, "input": arguments, **fields}, "rows.jsonl, row 7")


def arguments_of(source: str) -> str:
    return ast.dump(ast.parse(f"f({source})", mode="eval"))


def test_every_corpus_row_reads_back_from_its_text() -> None:
    rows = [DOMAIN.read(row, where) for where, row in Source(CodeExec.corpus).rows()]
    assert len(rows) == 640
    for row in rows:
        parsed = DOMAIN.parse(row["text"])
        assert (parsed["code"], parsed["entry_point"], parsed["group"]) == (
            row["code"],
            row["entry_point"],
            row["group"],
        )
        assert arguments_of(parsed["input"]) == arguments_of(row["input"])
        assert DOMAIN.canonical(parsed) == DOMAIN.canonical(row)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("x" * 20_001, "too_long"),
        ("def f(:\n\nf(1)", "syntax"),
        (CODE, "no_call"),
        ("# nothing but a comment", "no_call"),
        (CODE + "\n\nf", "no_call"),
        (CODE + "\n\ng(1)", "no_function"),
        (CODE + "\n\nstr.upper('a')", "no_function"),
        (CODE + "\n\nprint(1)\nf(1)", "statements"),
        (CODE + "\nfor i in []: pass\nf(1)", "statements"),
        ("def f(a): return a\nx = 1; f(1)", "statements"),
        (CODE + "\n\nf(x)", "arguments"),
        (CODE + "\n\nf(1 + 1)", "arguments"),
        (CODE + "\n\nf(*[1])", "arguments"),
        (CODE + "\n\nf(b=len('a'))", "arguments"),
        (CODE + "\n\nf(" + " + ".join(["x"] * 3000) + ")", "syntax"),
        (CODE + "\n\nf(0x" + "f" * 6000 + ")", "syntax"),
    ],
)
def test_a_text_that_is_no_record_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        DOMAIN.parse(text)
    assert caught.value.reason == reason


def test_a_call_over_several_lines_with_keywords_reads_back() -> None:
    parsed = DOMAIN.parse(f"import math\n{CODE}\n\nf(\n  [1,\n   2], b = {{'k': -1}}\n)  # call\n")
    assert parsed["input"] == "[1, 2], b={'k': -1}"
    assert parsed["code"] == f"import math\n{CODE}"
    assert parsed["text"] == f"import math\n{CODE}\n\nf([1, 2], b={{'k': -1}})"


def test_odd_line_separators_inside_strings_break_no_line() -> None:
    code = "def f(a):\r\n    return a + '\u2028\x0c\x85'"
    parsed = DOMAIN.parse(f"{code}\r\n\r\nf('x')")
    assert parsed["code"] == code.replace("\r\n", "\n")
    assert DOMAIN.parse(parsed["text"]) == parsed


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("1, 2", "1, 2"),
        ("f(a = 1, b = 2)", "a = 1, b = 2"),
        (" f(1) ", "1"),
        ("f()", ""),
        ("'f(1)'", "'f(1)'"),
        ("g(1)", "g(1)"),
        ("f(1), 2", "f(1), 2"),
        ("a=1", "a=1"),
    ],
)
def test_inputs_of_both_benchmarks_become_argument_lists(given: str, read: str) -> None:
    assert record(given)["input"] == read


def test_a_record_holds_what_the_format_promises() -> None:
    made = record(output="3", difficulty="easy")
    assert made["text"] == f"{CODE}\n\nf(1, 2)"
    assert (made["kind"], made["entry_point"], made["output"], made["difficulty"]) == (
        "codeexec",
        "f",
        "3",
        "easy",
    )
    assert made["group"] == record("5", code=CODE.replace("b", "c"))["group"]
    assert made["group"] != record(code=CODE.replace("+", "-"))["group"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"input": "1"}, "field 'code' must be a string"),
        ({"code": "def f(", "input": "1"}, "field 'code' is not Python"),
        ({"code": CODE, "input": 3}, "field 'input' must be a string; it is 3"),
        ({"code": "x = 1", "input": "1"}, "defines no function"),
    ],
)
def test_a_bad_row_is_named_with_its_field(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match="data.jsonl, row 4: ") as caught:
        DOMAIN.read(row, "data.jsonl, row 4")
    assert problem in str(caught.value)


def test_a_row_without_id_is_called_by_its_number() -> None:
    assert DOMAIN.read({"code": CODE, "input": "1"}, "data.jsonl, row 4")["id"] == "4"


def test_livecodebench_rows_get_the_imports_they_rest_on() -> None:
    code = "def f(a: List[int]) -> int:\n    return gcd(*a)"
    row = {"code": code, "input": "f(a = [4, 6])", "output": "2", "function_name": "f"}
    ((made, problem),) = DOMAIN.complete([DOMAIN.read(row, "lcb, row 1")], workers=1)
    assert problem is None
    assert made["code"] == f"from math import gcd\nfrom typing import List\n\n{code}"
    assert DOMAIN.parse(made["text"])["code"] == made["code"]


def test_completion_fills_and_checks_outputs_by_execution() -> None:
    rows = [record(), record(output="3"), record(output="4"), record(output="f(1)"), record("1, 'x'")]
    (first, none), (second, right), (_, wrong), (_, no_literal), (_, broken) = DOMAIN.complete(rows, workers=2)
    assert (first["output"], second["output"], none, right) == ("3", "3", None, None)
    assert wrong == "output says 4, execution says 3"
    assert str(no_literal).startswith("output is no literal")
    assert str(broken).startswith("does not run (error: TypeError")


def test_the_answer_is_what_execution_gives_whatever_the_record_says() -> None:
    (answered,) = DOMAIN.answer([record(output="99")], workers=1)
    assert (answered.record["output"], answered.reason) == ("3", None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [("return g", "error"), ("return a.b", "error"), ("exit()", "error"), ("return lambda: 0", "error")],
)
def test_a_record_that_yields_no_plain_value_has_no_answer(body: str, reason: str) -> None:
    (answered,) = DOMAIN.answer([record("1", code=f"def f(a):\n    {body}")], workers=1)
    assert answered.reason == reason
    assert answered.detail


def test_the_pair_is_the_prompt_with_its_one_example_and_the_completed_assertion() -> None:
    made = record(output="3")
    *prompt, answer = DOMAIN.pair(made)
    assert prompt == DOMAIN.prompt(made)
    assert [message["role"] for message in prompt] == ["user", "assistant", "user"]
    assert answer == {"role": "assistant", "content": "assert f(1, 2) == 3"}
    assert prompt[-1]["content"] == f"{CODE}\n\nassert f(1, 2) =="
    assert "3" not in prompt[-1]["content"]


def test_the_answer_that_a_coder_is_trained_on_is_graded_as_right() -> None:
    cases = {"1, 2": "3", "'a == b', 'c'": "'a == bc'", "[1], []": "[1]"}
    for each in (record(arguments, output=output) for arguments, output in cases.items()):
        completion = DOMAIN.pair(each)[-1]["content"]
        assert next(DOMAIN.grade([each], [[completion]], workers=1))[0].passed


def test_the_worked_example_is_true() -> None:
    from domino_lightning.domains.codeexec import EXAMPLE

    ((_, problem),) = DOMAIN.complete([DOMAIN.read(EXAMPLE, "example")], workers=1)
    assert problem is None


def test_completions_are_graded_as_literals() -> None:
    verdicts = list(DOMAIN.grade([record(output="3")], [["[ANSWER]3[/ANSWER]", "3.0", "", "a + b"]], workers=1))
    assert [verdict.passed for verdict in verdicts[0]] == [True, False, False, False]


@pytest.mark.parametrize("name", ["cruxeval_dev.jsonl", "lcb_execution_dev.jsonl"])
def test_real_rows_are_read_executed_and_read_back(shared_data: Path, name: str) -> None:
    rows = read_jsonl(shared_data / name)[:50]
    records = [DOMAIN.read(row, f"{name}, row {number}") for number, row in enumerate(rows, start=1)]
    assert [problem for _, problem in DOMAIN.complete(records, workers=2) if problem] == []
    for each in records:
        parsed = DOMAIN.parse(each["text"])
        assert (parsed["code"], parsed["entry_point"]) == (each["code"], each["entry_point"])
        assert arguments_of(parsed["input"]) == arguments_of(each["input"])


def test_an_output_too_long_to_ask_for_is_no_answer() -> None:
    record = DOMAIN.parse("def f(n):\n    return 'a' * n\n\nf(199)")
    (answered,) = DOMAIN.answer([{"id": "x", **record}], workers=1)
    assert answered.reason == "long_output"  # 199 characters and two quotes
    (answered,) = CodeExec(max_output=201).answer([{"id": "x", **record}], workers=1)
    assert answered.reason is None


@pytest.mark.parametrize("value", [3, 0, 1.5, True, [1], {"a": 1}], ids=str)
def test_an_output_as_a_native_value_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"line 4: field 'output' must be a string"):
        DOMAIN.read({"code": CODE, "input": "1", "output": value}, "data.jsonl, line 4")


def test_an_output_that_is_no_literal_is_told_without_running_anything() -> None:
    assert str(DOMAIN.problem(record(output="f(1)"))).startswith("output is no literal")
    assert DOMAIN.problem(record(output="3")) is None
    assert DOMAIN.problem(record()) is None


@pytest.mark.parametrize(("given", "name"), [(0, "0"), (None, "4"), ("", "4"), ("0", "0")])
def test_zero_is_an_id(given: object, name: str) -> None:
    row = {"code": CODE, "input": "1", "id": given, "entry_point": None, "output": None}
    assert DOMAIN.read(row, "data.jsonl, line 4")["id"] == name


@pytest.mark.parametrize("field", ["input", "entry_point"])
def test_a_call_that_is_no_python_is_told_without_running_anything(field: str) -> None:
    made = DOMAIN.read({"code": CODE, "input": "1", field: "(("}, "data.jsonl, line 4")
    assert "which is no Python" in str(DOMAIN.problem(made))


@pytest.mark.parametrize("value", [date(2020, 10, 12), Decimal(3)])
@pytest.mark.parametrize("field", ["code", "input", "output", "entry_point"])
def test_the_text_of_a_date_or_a_decimal_is_no_code(field: str, value: object) -> None:
    row = {"code": "def f(a):\n    return a", "input": "1", field: TypedText(value)}
    with pytest.raises(UserError, match=rf"row 3: field '{field}' must be a string; it is a {type(value).__name__}"):
        CodeExec().read(row, "data, row 3")


@pytest.mark.parametrize("value", [0, False, [], {}, "  "])
@pytest.mark.parametrize("field", ["entry_point", "function_name"])
def test_an_entry_point_of_another_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"row 3: field '{field}' must be a string"):
        CodeExec().read({"code": "def f(a):\n    return a", "input": "1", field: value}, "data, row 3")


@pytest.mark.parametrize("output", ["", "  \n", None])
def test_an_empty_output_is_executed_as_a_missing_one_is(output: str | None) -> None:
    row = {"code": "def f(word):\n    return word[::-1]", "input": "'drawer'", "output": output}
    record = CodeExec().record(row, "calls.jsonl, line 4")
    assert record["output"] is None and not CodeExec().has_answer(record) and CodeExec().problem(record) is None
    ((done, problem),) = CodeExec().complete([record], 1)
    assert (done["output"], problem) == ("'reward'", None)
